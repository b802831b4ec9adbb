package state

import (
	"time"

	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
)

// Meta is what the state knows about itself.
type Meta struct {
	ClusterID   string
	Epoch       string    // changes when history was replaced
	Index       uint64    // Raft index of the newest entry that was applied as a whole
	Time        time.Time // that entry's; zero before the first
	NodeVersion uint32    // active version of the node protocol
}

func metaTable() *table[*commandpb.Meta] {
	return &table[*commandpb.Meta]{
		name: "meta",
		id:   func(*commandpb.Meta) []byte { return key{}.str("meta") },
	}
}

func secretTable() *table[*commandpb.Secret] {
	return &table[*commandpb.Secret]{
		name: "secrets",
		id:   func(s *commandpb.Secret) []byte { return key{}.str(s.GetName()) },
	}
}

type metaQueries struct{ *reader }

// Meta returns what the state knows about itself. It is never watched, since
// every entry changes it: use Store.WaitIndex.
func (q metaQueries) Meta() Meta { return metaOf(q.metaRow()) }

func metaOf(row *commandpb.Meta) Meta {
	m := Meta{
		ClusterID:   row.GetClusterId(),
		Epoch:       row.GetEpoch(),
		Index:       row.GetIndex(),
		NodeVersion: row.GetNodeVersion(),
	}
	if row.GetTime() != 0 {
		m.Time = time.Unix(0, row.GetTime()).UTC()
	}
	return m
}

// metaRow returns an empty row in a new state.
func (q metaQueries) metaRow() *commandpb.Meta {
	unwatched := *q.reader
	unwatched.watches = nil
	row := q.tables.meta.get(&unwatched, key{}.str("meta"))
	if row == nil {
		return &commandpb.Meta{}
	}
	return row
}

// Secret returns the sealed value of that name.
func (q metaQueries) Secret(name string) []byte {
	return q.tables.secrets.get(q.reader, key{}.str(name)).GetSealed()
}

// SetCluster records which cluster this is. The index and time stay.
func (w *WriteTx) SetCluster(id, epoch string, nodeVersion uint32) {
	meta := proto.CloneOf(w.metaRow())
	meta.ClusterId, meta.Epoch, meta.NodeVersion = id, epoch, nodeVersion
	Put(w, meta)
}

// SetNodeVersion records the active version of the node protocol.
func (w *WriteTx) SetNodeVersion(version uint32) {
	meta := proto.CloneOf(w.metaRow())
	meta.NodeVersion = version
	Put(w, meta)
}
