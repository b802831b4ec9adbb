package entrypoint

import (
	"fmt"
	"time"

	"waypoint/internal/task"
)

// order asks for the files of settings.
type order struct {
	with   *settings
	anew   bool // all of them: the child is about to start
	signal bool // the child is signalled when they are there
	faults []fault
}

// writer writes configuration files in a goroutine of its own, for a network
// drive that does not answer must not keep the supervisor from the child.
// While an order is out the newest of those that come is kept. Its fields
// belong to the supervisor.
type writer struct {
	files  *files // belongs to the goroutine
	orders chan *order
	done   chan *order // that was out
	out    *order      // nil: none
	next   *order      // when it is done; nil: none
	newest *order      // of those that are not done
}

// newWriter makes a writer. The goroutine begins with the first order, which
// an app without files never gives.
func newWriter(files *files) *writer { return &writer{files: files, done: make(chan *order, 1)} }

// order has the files of settings written. It returns false if there are none
// and never were.
func (w *writer) order(o *order) bool {
	if w.orders == nil {
		if len(o.with.files) == 0 {
			return false
		}
		w.orders = make(chan *order, 1)
		go w.run()
	}
	w.newest = o
	if w.out == nil {
		w.send(o)
		return true
	}
	if w.next != nil {
		o.anew = o.anew || w.next.anew
	}
	w.next = o
	return true
}

// send never waits: the goroutine has nothing else to do.
func (w *writer) send(o *order) {
	w.out = o
	w.orders <- o
}

// took takes note of an order that is done, and sends the next. It tells
// whether there is none.
func (w *writer) took(o *order) bool {
	w.out = nil
	if next := w.next; next != nil {
		w.next = nil
		w.send(next)
		return false
	}
	w.newest = nil
	return true
}

// signalling tells whether the order for a signal is out.
func (w *writer) signalling(with *settings) bool {
	return w.newest != nil && w.newest.signal && w.newest.with.same(with)
}

// finish ends the goroutine, and gives a file that is being written a moment
// so that no part of it stays behind.
func (w *writer) finish(limit time.Duration) {
	if w.orders == nil {
		return
	}
	close(w.orders)
	if w.out == nil {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-w.done:
	case <-timer.C:
	}
}

func (w *writer) run() {
	for o := range w.orders {
		err := task.Protect(func() error {
			o.faults = w.files.become(o.with.files, o.anew)
			return nil
		})
		if err != nil {
			o.faults = append(o.faults, fault{path: "all", err: fmt.Errorf("write files: %w", err), missing: true})
		}
		w.done <- o
	}
}

// missing tells whether the content of a file is not at its path.
func (o *order) missing() bool {
	for _, fault := range o.faults {
		if fault.missing {
			return true
		}
	}
	return false
}
