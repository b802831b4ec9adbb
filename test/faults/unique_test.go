//go:build linux

package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"waypoint/api/configpb"
	"waypoint/test/harness"
)

// unique writes names that nobody else does, through all nodes. Each
// acknowledged one must be there in the end.
type unique struct {
	cluster *harness.Cluster
	clients int

	mu      sync.Mutex
	writes  []uniqueWrite
	missing []string
}

// uniqueWrite is one line of the history.
type uniqueWrite struct {
	Name  string        `json:"name"`
	Call  time.Time     `json:"call"`
	Took  time.Duration `json:"took"`
	Error string        `json:"error,omitempty"`
}

func workloads(w *world, _ options) []workload {
	return []workload{&unique{cluster: w.cluster, clients: 6}}
}

// Name is "unique".
func (u *unique) Name() string { return "unique" }

// Prepare makes the project.
func (u *unique) Prepare(ctx context.Context) error {
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
	w := uniqueWrite{Name: name, Call: time.Now()}
	zero := uint64(0) // must not exist: a write that is done twice is refused and so seen
	_, err := api.Set(ctx, &configpb.SetRequest{Changes: []*configpb.Change{
		{Scope: &configpb.Scope{Project: "unique"}, Name: name, Value: "1", IfVersion: &zero},
	}})
	w.Took = time.Since(w.Call)
	if err != nil {
		w.Error = err.Error()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.writes = append(u.writes, w)
}

// Check reads all.
func (u *unique) Check(ctx context.Context) verdict {
	var reply configpb.GetResponse
	if err := u.cluster.Query(ctx, &reply, "config", "get", "-project=unique"); err != nil {
		u.missing = append(u.missing, err.Error())
		return u
	}
	there := map[string]bool{}
	for _, v := range reply.GetVariables() {
		there[v.GetName()] = true
	}
	for _, w := range u.writes {
		if w.Error == "" && !there[w.Name] {
			u.missing = append(u.missing, w.Name)
		}
	}
	return u
}

// Err implements verdict.
func (u *unique) Err() error {
	if len(u.missing) > 0 {
		return fmt.Errorf("unique: %d acknowledged writes are lost: %s", len(u.missing), u.missing[0])
	}
	return nil
}

// String implements verdict.
func (u *unique) String() string {
	failed := 0
	for _, w := range u.writes {
		if w.Error != "" {
			failed++
		}
	}
	return fmt.Sprintf("unique: %d writes, %d of them failed, %d lost", len(u.writes), failed, len(u.missing))
}

// Save implements verdict.
func (u *unique) Save(dir string) ([]string, error) {
	path := filepath.Join(dir, "unique.jsonl")
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := json.NewEncoder(f)
	for _, w := range u.writes {
		if err := out.Encode(w); err != nil {
			return nil, err
		}
	}
	return []string{path}, nil
}
