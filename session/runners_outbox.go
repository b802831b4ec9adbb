package session

import (
	"sync"

	"waypoint/api/runnerpb"
	"waypoint/errs"
)

// maxRunnerOrders bounds the messages that wait for one runner: a few for each
// slot it may have.
const maxRunnerOrders = 4 * maxSlots

// runnerOutbox sends what others have for a runner, without making them wait. A
// goroutine exists only while there is something to send. A runner that does
// not take its messages loses its stream.
type runnerOutbox struct {
	send  func(*runnerpb.Down) error
	spawn func(func()) bool
	fail  func(error)

	mu      sync.Mutex
	queue   []*runnerpb.Down
	ponging bool
	sending bool
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
	o.start()
}

// pong answers a ping; never more than one answer waits.
func (o *runnerOutbox) pong() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ponging = true
	o.start()
}

func (o *runnerOutbox) start() {
	if !o.sending {
		o.sending = o.spawn(o.drain)
	}
}

// drain sends until nothing waits. After a failure nothing is sent any more.
func (o *runnerOutbox) drain() {
	for {
		d := o.next()
		if d == nil {
			return
		}
		if err := o.send(d); err != nil {
			o.fail(err)
			return
		}
	}
}

func (o *runnerOutbox) next() *runnerpb.Down {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case len(o.queue) > 0:
		d := o.queue[0]
		if o.queue = o.queue[1:]; len(o.queue) == 0 {
			o.queue = nil
		}
		return d
	case o.ponging:
		o.ponging = false
		return &runnerpb.Down{Kind: &runnerpb.Down_Pong{Pong: true}}
	}
	o.sending = false
	return nil
}
