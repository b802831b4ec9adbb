//go:build linux

package faults

import (
	"context"
	"fmt"
	"sync"
	"time"

	"waypoint/api/configpb"
	"waypoint/test/faults/check"
	"waypoint/test/harness"
)

// unique writes names that nobody else does, through all nodes. Each
// acknowledged one must be there in the end.
type unique struct {
	cluster *harness.Cluster
	clients int

	mu     sync.Mutex
	writes map[string]bool // by name, whether it was acknowledged
}

// Name is "unique".
func (u *unique) Name() string { return "unique" }

// Prepare makes the project.
func (u *unique) Prepare(ctx context.Context) error {
	u.writes = map[string]bool{}
	_, err := u.cluster.Run(ctx, "project", "apply", "unique")
	return err
}

// Run writes until ctx ends.
func (u *unique) Run(ctx context.Context) error {
	var clients sync.WaitGroup
	defer clients.Wait()
	for i := range u.clients {
		conn, err := u.cluster.Dial(i)
		if err != nil {
			return err
		}
		clients.Go(func() {
			defer conn.Close()
			api := configpb.NewConfigClient(conn.Conn())
			for n := 0; ctx.Err() == nil; n++ {
				u.write(ctx, api, fmt.Sprintf("W%d_%d", i, n))
				pause(ctx, 10*time.Millisecond)
			}
		})
	}
	return nil
}

func (u *unique) write(ctx context.Context, api configpb.ConfigClient, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	zero := uint64(0) // must not exist: a write that is done twice is refused and so seen
	_, err := api.Set(ctx, &configpb.SetRequest{Changes: []*configpb.Change{
		{Scope: &configpb.Scope{Project: "unique"}, Name: name, Value: "1", IfVersion: &zero},
	}})
	u.mu.Lock()
	defer u.mu.Unlock()
	u.writes[name] = err == nil
}

// Check reads all.
func (u *unique) Check(ctx context.Context) *check.Verdict {
	v := &check.Verdict{Workload: u.Name()}
	var reply configpb.GetResponse
	if err := u.cluster.Query(ctx, &reply, "config", "get", "-project=unique"); err != nil {
		v.Violated("the variables cannot be read: %v", err)
		return v
	}
	there := map[string]bool{}
	for _, one := range reply.GetVariables() {
		there[one.GetName()] = true
	}
	for name, acknowledged := range u.writes {
		if acknowledged && !there[name] {
			v.Violated("the acknowledged write of %s is lost", name)
		}
	}
	v.Summary = fmt.Sprintf("%d writes", len(u.writes))
	return v
}
