package session

import "waypoint/api/entrypointpb"

// maxOrders bounds the messages that wait for one instance.
const maxOrders = 64

// outbox holds what waits to be sent to an instance. Of configurations only the
// newest waits, and there is never more than one pong to send.
type outbox struct {
	sender[entrypointpb.Down]
	orders  []*entrypointpb.Down // welcome, exec, move: in order
	config  *entrypointpb.Down
	restart *entrypointpb.Down
	pong    bool
	ready   bool // it has been offered its configuration: commands may run in it
}

// order queues a message and returns false if too many wait already.
func (o *outbox) order(d *entrypointpb.Down) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.orders) >= maxOrders {
		return false
	}
	o.orders = append(o.orders, d)
	o.wake(o.next)
	return true
}

// setConfig replaces the configuration that waits.
func (o *outbox) setConfig(d *entrypointpb.Down) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.config = d
	o.wake(o.next)
}

// setReady lets go of commands that wait for the first configuration.
func (o *outbox) setReady() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ready = true
	o.wake(o.next)
}

// setRestart tells the instance that its turn to restart has come.
func (o *outbox) setRestart(d *entrypointpb.Down) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.restart = d
	o.wake(o.next)
}

func (o *outbox) answerPing() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pong = true
	o.wake(o.next)
}

func (o *outbox) next() *entrypointpb.Down {
	command := len(o.orders) > 0 && o.orders[0].GetExec() != nil
	switch {
	case o.config != nil && (len(o.orders) == 0 || command):
		d := o.config // before a command, which is to run under it
		o.config = nil
		return d
	case len(o.orders) > 0 && (!command || o.ready):
		return popFirst(&o.orders)
	case o.restart != nil:
		d := o.restart // after the configuration that it is for
		o.restart = nil
		return d
	case o.pong:
		o.pong = false
		return &entrypointpb.Down{Kind: &entrypointpb.Down_Pong{Pong: true}}
	}
	return nil
}
