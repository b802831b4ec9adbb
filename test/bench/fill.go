package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/cluster/raftstore"
	"waypoint/fsm"
	"waypoint/internal/ids"
	"waypoint/state"
)

// fillCommand makes this binary fill the data of stopped nodes with objects:
// "fill COUNT FOLDER...". The nodes find a snapshot that holds them, as if they had
// taken it when they stopped. To write so many one by one would take hours.
const fillCommand = "fill"

const snapshotVersion = 1 // of Raft's own data about a snapshot

// fill takes the number of objects and the Raft folders of all nodes.
func fill(args []string) (err error) {
	debug.SetGCPercent(400) // it is not what is measured
	if len(args) < 2 {
		return errors.New("usage: fill COUNT FOLDER")
	}
	count, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var nodes []*raftstore.Stores
	defer func() {
		for _, n := range nodes {
			err = errors.Join(err, n.Close())
		}
	}()
	common := ^uint64(0) // the newest entry that all have
	for _, dir := range args[1:] {
		guard := raftstore.NewGuard(time.Minute, func(error) {})
		n, err := raftstore.Open(dir, raftstore.Options{Guard: guard, Logger: hclog.NewNullLogger()})
		if err != nil {
			return err
		}
		nodes = append(nodes, n)
		last, err := n.Log.LastIndex()
		if err != nil {
			return err
		}
		common = min(common, last)
	}
	h, err := replay(nodes[0].Log, common)
	if err != nil {
		return err
	}
	h.add(count)
	return h.save(nodes)
}

// history is what a log has led to.
type history struct {
	store         *state.Store
	index, term   uint64
	configuration raft.Configuration
	configured    uint64 // the index of the configuration
}

// replay applies the log up to an index.
func replay(log raft.LogStore, upTo uint64) (*history, error) {
	h := &history{store: state.New(), index: upTo}
	machine := fsm.New(h.store, hclog.NewNullLogger())
	first, err := log.FirstIndex()
	if err != nil || first != 1 {
		return nil, errors.Join(fmt.Errorf("the log begins with entry %d, not 1", first), err)
	}
	for i := first; i <= upTo; i++ {
		var entry raft.Log
		if err := log.GetLog(i, &entry); err != nil {
			return nil, err
		}
		h.term = entry.Term
		switch entry.Type {
		case raft.LogCommand:
			machine.Apply(&entry)
		case raft.LogConfiguration:
			h.configuration, h.configured = raft.DecodeConfiguration(entry.Data), i
		}
	}
	return h, nil
}

// add puts objects into the state: of ten, four variables, two builds, two
// deployments, an instance that has ended and a job that has.
func (h *history) add(count int) {
	const apps = 1000
	meta := h.store.Read().Meta()
	now := timestamppb.New(meta.Time)
	entry := h.store.Begin()
	for i := 0; i < count; i += 10 {
		w := entry.Command()
		ref := &deploymentpb.AppRef{Project: fmt.Sprintf("project-%d", i%apps), App: "web", Workspace: "default"}
		for n := range 4 {
			state.Put(w, &configpb.Variable{
				Scope: &configpb.Scope{Project: ref.Project, App: ref.App}, Name: fmt.Sprintf("VARIABLE_%d", i+n),
				Origin: configpb.Origin_ORIGIN_SET, Sealed: bytes.Repeat([]byte{byte(i + n)}, 100), Version: 1, UpdatedAt: now,
			})
		}
		var last string
		fence := &deploymentpb.Fence{JobId: ids.New(), Attempt: 1}
		for n := range 2 {
			last = ids.New()
			state.Put(w, &deploymentpb.Build{
				Id: last, App: ref, Fence: fence, Plugin: "noop", Status: deploymentpb.Status_STATUS_SUCCEEDED,
				CreatedAt: now, EndedAt: now, Sequence: uint64(i + n),
			})
			state.Put(w, &deploymentpb.Deployment{
				Id: last, App: ref, Fence: fence, Plugin: "noop", Status: deploymentpb.Status_STATUS_DESTROYED,
				CreatedAt: now, EndedAt: now, DestroyedAt: now, Sequence: uint64(i + n),
			})
		}
		state.Put(w, &deploymentpb.Instance{
			Id: ids.New(), DeploymentId: last, App: ref, NodeId: "gone", NodeBoot: "gone", Generation: 1, Host: "host",
			State: deploymentpb.InstanceState_INSTANCE_STATE_EXITED, StartedAt: now, AttachedAt: now, ChangedAt: now,
		})
		state.Put(w, &jobpb.Job{
			Id: fence.GetJobId(), State: jobpb.State_STATE_SUCCEEDED, Attempt: 1, CreatedAt: now, AssignedAt: now, EndedAt: now,
			Spec: &jobpb.Spec{Operation: jobpb.Operation_OPERATION_UP, Project: ref.Project, App: ref.App, Workspace: ref.Workspace},
		})
		w.Commit()
	}
	entry.Commit(meta.Index, meta.Time)
}

// save gives every node the same snapshot.
func (h *history) save(nodes []*raftstore.Stores) (err error) {
	file, err := os.CreateTemp("", "waypoint-bench-snapshot-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	if _, err := h.store.Snapshot().WriteTo(file); err != nil {
		return err
	}
	_, nowhere := raft.NewInmemTransport("")
	for _, n := range nodes {
		sink, err := n.Snapshots.Create(snapshotVersion, h.index, h.term, h.configuration, h.configured, nowhere)
		if err != nil {
			return err
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return errors.Join(err, sink.Cancel())
		}
		if _, err := io.Copy(sink, file); err != nil {
			return errors.Join(err, sink.Cancel())
		}
		if err := sink.Close(); err != nil {
			return err
		}
	}
	return nil
}
