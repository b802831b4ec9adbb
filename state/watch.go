package state

import (
	"context"

	"github.com/hashicorp/go-memdb"
)

// WatchSet collects what the queries of a watched Tx looked at. It is used by
// one goroutine: fill it by queries, Wait, and make a new one for the next round.
type WatchSet struct {
	set memdb.WatchSet
}

// NewWatchSet returns an empty set. Waiting on an empty set ends with the
// context only.
func NewWatchSet() *WatchSet {
	return &WatchSet{set: memdb.NewWatchSet()}
}

// Wait returns nil when anything that was looked at may have changed, at once
// if it already has, and the context's error when that ends first. It may
// return without a change that matters: read again and compare.
func (ws *WatchSet) Wait(ctx context.Context) error {
	return ws.set.WatchCtx(ctx)
}

// Also makes Wait end when something is received from ch too, or ch is closed.
func (ws *WatchSet) Also(ch <-chan struct{}) { ws.add(ch) }

func (ws *WatchSet) add(ch <-chan struct{}) {
	ws.set.Add(ch)
}
