// Package task runs functions side by side and waits for all of them: the
// first error ends the others, and a panic is an error.
//
// It must not know what the functions do.
package task

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// PanicError is what a function that panicked has returned.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that panicked
}

// Error says what the panic was about and where it came from.
func (e *PanicError) Error() string {
	return fmt.Sprintf("panic: %v\n%s", e.Value, e.Stack)
}

// Unwrap returns the panic's value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Run calls each function in a goroutine of its own and returns when all have
// returned. The first that returns an error ends the context of the others,
// and its error is Run's. A function that returns nil ends nothing. When ctx
// ends, functions usually return its error, and then so does Run.
func Run(ctx context.Context, fns ...func(context.Context) error) error {
	g := NewGroup(ctx)
	for _, fn := range fns {
		g.Go("", fn)
	}
	return g.Wait()
}

// Group runs functions that are not all known at the start. Wait must be
// called, and everything must be started before it returns.
type Group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	once   sync.Once
	err    error
}

// NewGroup returns an empty group whose functions get a context that ends with
// ctx, with the first error of one of them, or when Wait returns.
func NewGroup(ctx context.Context) *Group {
	ctx, cancel := context.WithCancelCause(ctx)
	return &Group{ctx: ctx, cancel: cancel}
}

// Go starts fn. A name that is not empty is put before its error.
func (g *Group) Go(name string, fn func(context.Context) error) {
	g.wg.Go(func() {
		err := Protect(func() error { return fn(g.ctx) })
		if err == nil {
			return
		}
		if name != "" {
			err = fmt.Errorf("%s: %w", name, err)
		}
		g.once.Do(func() {
			g.err = err
			g.cancel(err)
		})
	})
}

// Stop ends the context of the group's functions without counting as an
// error of theirs. They may return the context's error, which then is Wait's.
func (g *Group) Stop() { g.cancel(context.Canceled) }

// Wait waits for all functions and returns the first error.
func (g *Group) Wait() error {
	g.wg.Wait()
	g.cancel(context.Canceled)
	return g.err
}

// Protect calls fn and returns its error, or a *PanicError if it panics.
func Protect(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return fn()
}
