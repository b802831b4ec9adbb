package entrypoint

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"waypoint/api/entrypointpb"
	"waypoint/client"
	"waypoint/errs"
	"waypoint/internal/backoff"
	"waypoint/internal/ids"
	"waypoint/internal/task"
	"waypoint/version"
)

const (
	minPause  = 100 * time.Millisecond // between two tries to attach
	maxPause  = 5 * time.Second
	welcomeIn = 5 * time.Second  // for a home node's first answer
	pingEvery = 10 * time.Second // the fastest timer of an idle entrypoint
	silence   = 40 * time.Second // without a word, after which a home node is given up
)

// uplink keeps this instance attached to a home node, whatever happens. It
// owns no decision about the child: it hands configurations to the supervisor
// and tells the cluster what the supervisor reports.
type uplink struct {
	client   *client.Client
	api      entrypointpb.EntrypointClient
	log      hclog.Logger
	book     *logbook
	execs    *execs
	instance string
	host     string
	configs  chan *entrypointpb.Config // one slot, the newest wins
	turns    chan uint32               // one slot, the newest wins

	mu         sync.Mutex
	generation uint64
	have       *entrypointpb.HaveConfig
	haveBy     uint64 // generation of the attach that it came by
	child      *entrypointpb.ChildState
	childNews  chan struct{} // closed at the next report
	said       causes
	attached   atomic.Bool // at least once

	goodbye chan *entrypointpb.Goodbye // one slot
	gone    chan struct{}
	goneMu  sync.Once
}

func newUplink(cfg Config, log hclog.Logger, book *logbook) (*uplink, error) {
	c, err := client.New(client.Config{Addrs: cfg.Addrs, CA: cfg.CA, Token: cfg.Token, Spread: true, Logger: log})
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return &uplink{
		client:    c,
		api:       entrypointpb.NewEntrypointClient(c.Conn()),
		log:       log,
		book:      book,
		instance:  ids.New(),
		host:      host,
		configs:   make(chan *entrypointpb.Config, 1),
		turns:     make(chan uint32, 1),
		child:     &entrypointpb.ChildState{},
		childNews: make(chan struct{}),
		said:      make(causes),
		goodbye:   make(chan *entrypointpb.Goodbye, 1),
		gone:      make(chan struct{}),
	}, nil
}

// run stays attached until ctx ends or the goodbye has been said. A defect in
// it costs the connection, not the application.
func (u *uplink) run(ctx context.Context) {
	pause := backoff.New(minPause, maxPause)
	for ctx.Err() == nil {
		err := task.Protect(func() error { return u.stay(ctx, pause) })
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			u.complain(err)
		}
		if pause.Wait(ctx) != nil {
			return
		}
	}
}

// stay attaches, and attaches again elsewhere when the home node fails or asks
// for it. The old attach goes on until the new one stands. It returns nil
// after the goodbye, and an error when there is no home node.
func (u *uplink) stay(ctx context.Context, pause *backoff.Backoff) error {
	home, err := u.attach(ctx)
	if err != nil {
		return err
	}
	defer func() { home.end() }()
	u.settled()
	for {
		select {
		case <-u.gone:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-home.over:
			if time.Since(home.since) > maxPause {
				pause.Reset()
			}
			return home.err
		case <-home.move:
			u.client.Avoid(home.node)
		case <-u.client.Rebalance():
		}
		next, err := u.attach(ctx)
		if err != nil {
			u.complain(err)
			home.retryMove(ctx, pause)
			continue
		}
		home.end()
		home = next
		u.settled()
	}
}

// complain says once per cause why there is no home node.
func (u *uplink) complain(err error) {
	text := err.Error()
	u.mu.Lock()
	fresh := u.said.fresh(text)
	u.mu.Unlock()
	if fresh {
		u.log.Warn("not attached to the cluster, trying on", "cause", text)
	}
}

// settled says that there is a home node again, and lets every cause be told
// again.
func (u *uplink) settled() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.said) > 0 {
		u.log.Info("attached to the cluster", "server", u.client.Current())
	}
	clear(u.said)
}

// report takes what the supervisor says of its child, and does not wait.
func (u *uplink) report(child *entrypointpb.ChildState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.child = child
	close(u.childNews)
	u.childNews = make(chan struct{})
}

// childState is the newest report, and is told when there is a newer one.
func (u *uplink) childState() (*entrypointpb.ChildState, <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.child, u.childNews
}

// hello is the first message of an attach.
func (u *uplink) hello() *entrypointpb.Hello {
	first, last := u.book.ring.Bounds()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.generation++
	return &entrypointpb.Hello{
		InstanceId: u.instance,
		Generation: u.generation,
		Build:      version.Build(),
		Host:       u.host,
		Child:      u.child,
		Have:       u.have,
		FirstSeq:   first,
		LastSeq:    last,
	}
}

// offer hands a configuration that came by an attach to the supervisor, in
// place of one that it has not taken yet. While two attaches are open the one
// of a node that lags may bring an older configuration, which is dropped.
func (u *uplink) offer(config *entrypointpb.Config, generation uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.have != nil {
		same := config.GetEpoch() == u.have.GetEpoch()
		if same && config.GetIndex() < u.have.GetIndex() || !same && generation < u.haveBy {
			return
		}
	}
	u.have = &entrypointpb.HaveConfig{Epoch: config.GetEpoch(), Index: config.GetIndex(), Hash: config.GetHash()}
	u.haveBy = generation
	u.execs.configure(config.GetVariables())
	replace(u.configs, config)
}

// turn hands the supervisor its turn to restart a child.
func (u *uplink) turn(starts uint32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	replace(u.turns, starts)
}

// replace puts a value into a slot that only the caller fills, in place of one
// that has not been taken yet.
func replace[T any](slot chan T, value T) {
	for {
		select {
		case slot <- value:
			return
		default:
		}
		select {
		case <-slot:
		default:
		}
	}
}

// finish sends the last log lines and the goodbye, and ends the connection; it
// takes at most wait.
func (u *uplink) finish(bye *entrypointpb.Goodbye, wait time.Duration) {
	u.book.ring.Close()
	u.goodbye <- bye
	if !u.attached.Load() {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-u.gone:
	case <-timer.C:
	}
}

// left is told when a home node has taken the goodbye.
func (u *uplink) left() { u.goneMu.Do(func() { close(u.gone) }) }

// why names an attach's failure.
func why(what string, err error) error {
	if errs.Is(err, errs.Canceled) {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}
