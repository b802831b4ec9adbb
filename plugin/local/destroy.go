package local

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"waypoint/errs"
	"waypoint/plugin"
)

// Destroy ends the deployment's processes that are still who the record says,
// all at the same time, and removes its folder.
func (p *Platform) Destroy(ctx context.Context, req *plugin.DestroyRequest) error {
	if req.ID == "" || filepath.Base(req.ID) != req.ID {
		return errs.New(errs.Invalid, "%q is no deployment id", req.ID)
	}
	if err := p.checkPlace(req.Data); err != nil {
		return err
	}
	dir := p.dir(req.ID)
	rec, err := loadRecord(dir)
	if err != nil {
		return errs.New(errs.Internal, "read what runs in %s: %w", dir, err)
	}
	if err := p.end(ctx, req, rec); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return errs.New(errs.Internal, "remove the deployment's folder: %w", err)
	}
	return nil
}

// place is a deployment's data: where its folder is.
type place struct {
	StateDir string `json:"state_dir"`
}

// checkPlace refuses a deployment whose folder is not among this runner's: to
// find nothing to stop there would mean nothing. The path itself is not used, it
// comes from whoever recorded the deployment.
func (p *Platform) checkPlace(data []byte) error {
	if len(data) == 0 {
		return nil // never finished
	}
	var at place
	if err := json.Unmarshal(data, &at); err != nil {
		return errs.New(errs.Internal, "decode the deployment's data: %w", err)
	}
	if at.StateDir != p.config.StateDir {
		return errs.New(errs.Conflict, "the deployment's processes are recorded in %s, this runner's are in %s: destroy it with a runner of that user",
			at.StateDir, p.config.StateDir)
	}
	return nil
}

func (p *Platform) end(ctx context.Context, req *plugin.DestroyRequest, rec *record) error {
	boot, err := bootID()
	if err != nil {
		return errs.New(errs.Internal, "find this machine's boot id: %w", err)
	}
	if rec.Boot != boot {
		return nil // the machine has been started anew: none of them is left
	}
	var left []*handle
	defer func() {
		for _, h := range left {
			h.close()
		}
	}()
	for _, proc := range rec.Processes {
		if h := proc.open(); h != nil {
			left = append(left, h)
			continue
		}
		// An entrypoint that was killed has left its command running.
		for _, orphan := range leftBehind(proc.PID, req.ID) {
			if h := orphan.open(); h != nil {
				left = append(left, h)
			}
		}
	}
	if len(left) == 0 {
		return nil
	}
	fmt.Fprintf(req.Output, "stop %d processes\n", len(left))
	for _, h := range left {
		if err := h.signal(syscall.SIGTERM); err != nil {
			return errs.New(errs.PermissionDenied, "stop pid %d: %w", h.pid, err)
		}
	}
	if err := p.gone(ctx, left, p.config.Grace); !errs.Is(err, errs.Deadline) {
		return err
	}
	for _, h := range left {
		if h.alive() {
			fmt.Fprintf(req.Output, "pid %d has not ended within %s: kill it\n", h.pid, p.config.Grace)
			h.killSession()
		}
	}
	return p.gone(ctx, left, p.config.Grace)
}

// gone waits until all processes have ended: errs.Deadline if they have not
// within limit.
func (p *Platform) gone(ctx context.Context, handles []*handle, limit time.Duration) error {
	ticker := time.NewTicker(p.config.Poll)
	defer ticker.Stop()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		p.reap()
		left := 0
		for _, h := range handles {
			if h.alive() {
				left++
			}
		}
		if left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return errs.New(errs.Canceled, "wait for %d instances to end: %w", left, context.Cause(ctx))
		case <-timer.C:
			return errs.New(errs.Deadline, "%d instances have not ended within %s", left, limit)
		case <-ticker.C:
		}
	}
}
