package raftstore

import (
	"errors"
	"testing"
	"time"
)

func TestFirstFailedWriteIsFatalAndTheLast(t *testing.T) {
	var fatal []error
	g := NewGuard(time.Minute, func(err error) { fatal = append(fatal, err) })
	sick := errors.New("fsync: input/output error")
	if err := g.Do("write", func() error { return sick }); !errors.Is(err, sick) {
		t.Errorf("got %v", err)
	}
	err := g.Do("write", func() error { t.Error("wrote again after a failure"); return nil })
	if !errors.Is(err, sick) {
		t.Errorf("got %v", err)
	}
	if len(fatal) != 1 || !errors.Is(fatal[0], sick) {
		t.Errorf("fatal errors: %v", fatal)
	}
}

func TestHangingWriteIsFatalWhileItHangs(t *testing.T) {
	fatal := make(chan error)
	g := NewGuard(time.Millisecond, func(err error) { fatal <- err })
	err := g.Do("write", func() error {
		<-fatal
		return nil
	})
	if err == nil {
		t.Error("a write that came too late counts as done")
	}
}
