package session

import (
	"sync"

	"waypoint/api/entrypointpb"
)

// maxOrders bounds the messages that wait for one instance.
const maxOrders = 64

// outbox sends what others have for an instance, without making them wait: a
// goroutine exists only while there is something to send. Of configurations only
// the newest waits, and there is never more than one pong to send.
type outbox struct {
	send  func(*entrypointpb.Down) error
	spawn func(func()) bool
	fail  func(error)

	mu      sync.Mutex
	orders  []*entrypointpb.Down // welcome, exec, move: in order
	config  *entrypointpb.Down
	pong    bool
	sending bool
}

// order queues a message and returns false if too many wait already.
func (o *outbox) order(d *entrypointpb.Down) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.orders) >= maxOrders {
		return false
	}
	o.orders = append(o.orders, d)
	o.start()
	return true
}

// setConfig replaces the configuration that waits.
func (o *outbox) setConfig(d *entrypointpb.Down) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.config = d
	o.start()
}

func (o *outbox) answerPing() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pong = true
	o.start()
}

func (o *outbox) start() {
	if !o.sending {
		o.sending = o.spawn(o.drain)
	}
}

// drain sends until nothing waits. After a failure nothing is sent any more.
func (o *outbox) drain() {
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

func (o *outbox) next() *entrypointpb.Down {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case len(o.orders) > 0 && (o.config == nil || o.orders[0].GetExec() == nil): // a command runs under the newest configuration
		d := o.orders[0]
		if o.orders = o.orders[1:]; len(o.orders) == 0 {
			o.orders = nil
		}
		return d
	case o.config != nil:
		d := o.config
		o.config = nil
		return d
	case o.pong:
		o.pong = false
		return &entrypointpb.Down{Kind: &entrypointpb.Down_Pong{Pong: true}}
	}
	o.sending = false
	return nil
}
