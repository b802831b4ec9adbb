package state

import (
	"iter"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/deploymentpb"
)

// operation is what builds, artifacts, deployments and releases have in common.
type operation interface {
	proto.Message
	GetId() string
	GetApp() *deploymentpb.AppRef
	GetCreatedAt() *timestamppb.Timestamp
}

// numbered is an operation that counts within its app and workspace and may be
// made by a job's attempt.
type numbered interface {
	operation
	GetSequence() uint64
	GetFence() *deploymentpb.Fence
}

// operationTable indexes operations by "app" (app, workspace, sequence),
// "created" and "fence" (the job's attempt that made it).
func operationTable[M numbered](name string) *table[M] {
	return &table[M]{
		name: name,
		id:   func(m M) []byte { return key{}.str(m.GetId()) },
		indexes: []index[M]{
			{name: "app", key: func(m M) []byte { return refKey(m.GetApp()).num(m.GetSequence()) }},
			{name: "created", key: func(m M) []byte { return key{}.time(m.GetCreatedAt()).num(m.GetSequence()) }},
			{name: "fence", key: func(m M) []byte {
				if m.GetFence().GetJobId() == "" {
					return nil
				}
				return fenceKey(m.GetFence())
			}},
		},
	}
}

func fenceKey(f *deploymentpb.Fence) key {
	return key{}.str(f.GetJobId()).num(uint64(f.GetAttempt()))
}

func refKey(ref *deploymentpb.AppRef) key {
	return key{}.str(ref.GetProject()).str(ref.GetApp()).str(ref.GetWorkspace())
}

// refPrefix is the key of the leading fields of ref that are set.
func refPrefix(ref *deploymentpb.AppRef) key {
	var k key
	for _, part := range []string{ref.GetProject(), ref.GetApp(), ref.GetWorkspace()} {
		if part == "" {
			break
		}
		k = k.str(part)
	}
	return k
}

// matches reports whether each field of ref that is set is the same in app.
func matches(ref, app *deploymentpb.AppRef) bool {
	same := func(want, have string) bool { return want == "" || want == have }
	return same(ref.GetProject(), app.GetProject()) && same(ref.GetApp(), app.GetApp()) &&
		same(ref.GetWorkspace(), app.GetWorkspace())
}

func whole(ref *deploymentpb.AppRef) bool {
	return ref.GetProject() != "" && ref.GetApp() != "" && ref.GetWorkspace() != ""
}

// newest yields the operations that match ref, newest first.
func newest[M operation](t *table[M], r *reader, ref *deploymentpb.AppRef) iter.Seq[M] {
	if whole(ref) {
		return t.descend(r, "app", refKey(ref))
	}
	return func(more func(M) bool) {
		for m := range t.descend(r, "created", nil) {
			if matches(ref, m.GetApp()) && !more(m) {
				return
			}
		}
	}
}

// first collects at most limit rows that pass keep; limit 0 is no limit.
func first[M proto.Message](rows iter.Seq[M], limit int, keep func(M) bool) []M {
	var list []M
	for row := range rows {
		if !keep(row) {
			continue
		}
		list = append(list, row)
		if limit > 0 && len(list) >= limit {
			break
		}
	}
	return list
}

func all[M proto.Message](M) bool { return true }

// before collects at most limit rows whose index key, which begins with a time,
// is earlier than t. Oldest first.
func before[M proto.Message](table *table[M], r *reader, index string, t time.Time, of func(M) []byte, limit int) []M {
	end := string(key{}.instant(t))
	var list []M
	for row := range table.ascend(r, index, nil) {
		if len(list) >= limit || string(of(row)) >= end {
			break
		}
		list = append(list, row)
	}
	return list
}
