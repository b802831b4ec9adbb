package cluster

import "sync"

// verdict is the end that a node comes to by an error after which its process
// must not go on.
type verdict struct {
	tell func(error)

	once sync.Once
	done chan struct{}
	err  error
}

func newVerdict(tell func(error)) *verdict {
	return &verdict{tell: tell, done: make(chan struct{})}
}

// pass ends the node with the first error it is given.
func (v *verdict) pass(err error) {
	v.once.Do(func() {
		v.err = err
		close(v.done)
		v.tell(err)
	})
}
