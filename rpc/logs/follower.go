package logs

import (
	"context"
	"fmt"
	"sync"
	"time"

	"waypoint/api/deploymentpb"
	"waypoint/api/logspb"
	"waypoint/internal/task"
	"waypoint/state"
)

const (
	// maxSources bounds the instances that one call reads at a time.
	maxSources = 1000
	// settle is how long changes of the state are gathered before they are
	// looked at.
	settle = 50 * time.Millisecond
)

// follower keeps one source for each instance that matches.
type follower struct {
	cfg     Config
	req     *logspb.StreamRequest
	events  chan<- event
	sources map[string]*source
	told    string // last notice

	mu      sync.Mutex
	running int
	poke    chan struct{} // holds a token when a source has ended
}

func newFollower(cfg Config, req *logspb.StreamRequest, events chan<- event) *follower {
	return &follower{cfg: cfg, req: req, events: events, sources: map[string]*source{}, poke: make(chan struct{}, 1)}
}

// run returns when nothing that was asked for can come any more.
func (f *follower) run(ctx context.Context) error {
	group := task.NewGroup(ctx)
	group.Go("", func(ctx context.Context) error {
		defer group.Stop()
		return f.watch(ctx, group)
	})
	return group.Wait()
}

func (f *follower) watch(ctx context.Context, group *task.Group) error {
	for first := true; ; first = false {
		changes := state.NewWatchSet()
		tx := f.cfg.Reader.Local().Watch(changes)
		if err := f.update(ctx, group, tx, first); err != nil {
			return err
		}
		if f.over(tx, first) {
			return nil
		}
		if err := f.wait(ctx, changes); err != nil {
			return err
		}
	}
}

// update brings the sources to what the state says.
func (f *follower) update(ctx context.Context, group *task.Group, tx *state.Tx, first bool) error {
	if !first && !f.req.GetFollow() {
		return nil
	}
	rows := matching(tx, f.req)
	if notice := f.missing(tx, rows); notice != f.told {
		f.told = notice
		if notice != "" {
			if err := emit(ctx, f.events, event{notice: notice}); err != nil {
				return err
			}
		}
	}
	there := make(map[string]bool, len(rows))
	var opened []*source
	for _, row := range rows {
		there[row.GetId()] = true
		if s := f.sources[row.GetId()]; s != nil {
			s.set(row)
			continue
		}
		s, err := f.open(ctx, row, first)
		if err != nil {
			return err
		}
		if s != nil {
			opened = append(opened, s)
		}
	}
	// All are open before the first is read: lines wait for those of the others.
	for _, s := range opened {
		group.Go("", func(ctx context.Context) error { return f.read(ctx, s) })
	}
	for id, s := range f.sources {
		if !there[id] {
			s.set(nil)
		}
	}
	return nil
}

// open makes the source of an instance and says that its lines will come. It
// returns nil if there are too many.
func (f *follower) open(ctx context.Context, row *deploymentpb.Instance, first bool) (*source, error) {
	f.mu.Lock()
	full := f.running >= maxSources
	if !full {
		f.running++
	}
	f.mu.Unlock()
	if full {
		f.sources[row.GetId()] = nil // said once
		return nil, emit(ctx, f.events, event{notice: fmt.Sprintf("instance %s is left out: one reader follows at most %d instances", row.GetId(), maxSources)})
	}
	s := newSource(f.cfg, row, f.req, first, f.events)
	f.sources[row.GetId()] = s
	return s, emit(ctx, f.events, event{open: row.GetId()})
}

// read reads a source to its end.
func (f *follower) read(ctx context.Context, s *source) error {
	err := s.run(ctx)
	if err == nil {
		err = emit(ctx, f.events, event{done: s.id})
	}
	f.mu.Lock()
	f.running--
	f.mu.Unlock()
	select {
	case f.poke <- struct{}{}:
	default:
	}
	return err
}

// over tells whether all has been read and no instance can join.
func (f *follower) over(tx *state.Tx, first bool) bool {
	f.mu.Lock()
	running := f.running
	f.mu.Unlock()
	switch {
	case running > 0:
		return false
	case !f.req.GetFollow():
		return true
	case f.req.GetInstanceId() != "":
		return true
	case f.req.GetDeploymentId() != "":
		d := tx.Deployment(f.req.GetDeploymentId())
		return d == nil || d.GetStatus() == deploymentpb.Status_STATUS_DESTROYED
	}
	return false
}

// wait returns when the state has changed, or a source has ended.
func (f *follower) wait(ctx context.Context, changes *state.WatchSet) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	changed := make(chan error, 1)
	go func() { changed <- changes.Wait(waiting) }()
	select {
	case <-f.poke:
		cancel()
		<-changed
		return nil
	case err := <-changed:
		if err != nil {
			return context.Cause(ctx)
		}
	}
	timer := time.NewTimer(settle)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// missing says why there is nothing to read, "" if there is.
func (f *follower) missing(tx *state.Tx, rows []*deploymentpb.Instance) string {
	if len(rows) > 0 {
		return ""
	}
	app := f.req.GetApp()
	d := tx.Deployment(f.req.GetDeploymentId())
	if d == nil {
		if list := tx.Deployments(app, false, 1); len(list) > 0 {
			d = list[0]
		}
	}
	if d == nil {
		where := app.GetProject()
		if app.GetApp() != "" {
			where = app.GetApp()
		}
		return where + " has no deployment yet"
	}
	name := fmt.Sprintf("%s v%d", d.GetApp().GetApp(), d.GetSequence())
	if !d.GetEntrypoint() {
		return name + " runs without the entrypoint: its platform has its logs"
	}
	if d.GetStatus() == deploymentpb.Status_STATUS_DESTROYED {
		return name + " has been destroyed, and its logs are gone"
	}
	return "no instance of " + name + " is attached yet"
}
