package session

import (
	"waypoint/api/runnerpb"
	"waypoint/errs"
)

// maxRunnerOrders bounds the messages that wait for one runner: a few for each
// slot it may have.
const maxRunnerOrders = 4 * maxSlots

// runnerOutbox holds what waits to be sent to a runner. A runner that does not
// take its messages loses its stream.
type runnerOutbox struct {
	sender[runnerpb.Down]
	queue   []*runnerpb.Down
	ponging bool
}

// push queues a message.
func (o *runnerOutbox) push(d *runnerpb.Down) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) >= maxRunnerOrders {
		o.fail(errs.New(errs.Exhausted, "runner session: %d messages wait for the runner", len(o.queue)))
		return
	}
	o.queue = append(o.queue, d)
	o.wake(o.next)
}

// pong answers a ping; never more than one answer waits.
func (o *runnerOutbox) pong() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ponging = true
	o.wake(o.next)
}

func (o *runnerOutbox) next() *runnerpb.Down {
	if len(o.queue) > 0 {
		return popFirst(&o.queue)
	}
	if o.ponging {
		o.ponging = false
		return &runnerpb.Down{Kind: &runnerpb.Down_Pong{Pong: true}}
	}
	return nil
}
