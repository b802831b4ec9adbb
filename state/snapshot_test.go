package state

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/clusterpb"
	"waypoint/api/commandpb"
	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/api/projectpb"
	"waypoint/internal/ids"
)

// sample returns a store with a few rows.
func sample(t testing.TB) *Store {
	t.Helper()
	s := New()
	e := s.Begin()
	w := e.Command()
	at := timestamppb.New(time.Unix(1_700_000_000, 0))
	w.SetCluster("cluster", "epoch", 1)
	Put(w, &commandpb.Secret{Name: "ca-key", Sealed: []byte{1, 2, 3}})
	Put(w, &clusterpb.Node{Id: "n2", Name: "b"})
	Put(w, &clusterpb.Node{Id: "n1", Name: "a"})
	Put(w, &projectpb.Project{Name: "shop", Version: 1, Apps: []*projectpb.App{{Name: "web"}}})
	Put(w, &configpb.Variable{Scope: &configpb.Scope{Project: "shop"}, Name: "K", Sealed: []byte("x"), Version: 1})
	ref := &deploymentpb.AppRef{Project: "shop", App: "web", Workspace: "default"}
	Put(w, &deploymentpb.Build{Id: "b1", App: ref, Sequence: 1, CreatedAt: at})
	Put(w, &jobpb.Job{Id: "j1", State: jobpb.State_STATE_QUEUED, CreatedAt: at, Spec: &jobpb.Spec{
		Project: "shop", Variables: map[string]string{"a": "1", "b": "2", "c": "3", "d": "4"},
	}})
	for _, id := range []string{"01HF7YAT01ZZZZZZZZZZZZZZZZ", "01HF7YAT00ZZZZZZZZZZZZZZZZ"} {
		born, err := ids.Time(id)
		check(t.Name(), err)
		w.Remember(&commandpb.Request{TokenId: "t", RequestId: id, At: timestamppb.New(born)})
	}
	e.Commit(7, time.Unix(1_700_000_001, 5))
	return s
}

func encode(t testing.TB, s *Store) []byte {
	t.Helper()
	var b bytes.Buffer
	n, err := s.Snapshot().WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("WriteTo = %d, %v; wrote %d", n, err, b.Len())
	}
	return b.Bytes()
}

func TestSnapshotRestoresTheSameState(t *testing.T) {
	from := sample(t)
	data := encode(t, from)
	to := New()
	if err := to.Restore(iotest.OneByteReader(bytes.NewReader(data))); err != nil {
		t.Fatal(err)
	}
	if again := encode(t, to); !bytes.Equal(again, data) {
		t.Error("the restored state has another snapshot")
	}
	want := from.Read().Meta()
	for what, got := range map[string]Meta{"restored": to.Read().Meta(), "restored store's": to.Meta(), "store's": from.Meta()} {
		if got != want {
			t.Errorf("the %s meta is %+v, was %+v", what, got, want)
		}
	}
	if epoch, index := to.Index(); epoch != "epoch" || index != 7 {
		t.Errorf("index is %s/%d", epoch, index)
	}
	if nodes := to.Read().Nodes(); len(nodes) != 2 || nodes[0].GetId() != "n1" {
		t.Errorf("nodes are %v", nodes)
	}
}

func TestSnapshotOfAnEmptyStoreRestores(t *testing.T) {
	to := sample(t)
	if err := to.Restore(bytes.NewReader(encode(t, New()))); err != nil {
		t.Fatal(err)
	}
	if m := to.Read().Meta(); m != (Meta{}) {
		t.Errorf("meta is %+v", m)
	}
}

func TestEqualStatesHaveEqualSnapshotsWhateverTheirHistory(t *testing.T) {
	a, b := sample(t), sample(t)
	m := b.Read().Meta()
	commit(b, func(w *WriteTx) { Put(w, &clusterpb.Node{Id: "n3", Name: "c"}) })
	e := b.Begin()
	Delete(e.Command(), b.Read().Node("n3"))
	e.Commit(m.Index, m.Time)
	if !bytes.Equal(encode(t, a), encode(t, b)) {
		t.Error("snapshots differ")
	}
}

// refused restores data into a store and checks that this changes nothing.
func refused(t *testing.T, data []byte) error {
	t.Helper()
	s := New()
	commit(s, func(w *WriteTx) { w.SetCluster("mine", "mine", 1) })
	ws := NewWatchSet()
	s.Read().Watch(ws).Nodes()
	err := s.Restore(bytes.NewReader(data))
	if err == nil {
		t.Fatal("Restore accepted it")
	}
	if !errors.Is(err, ErrSnapshot) {
		t.Errorf("error is %v, want one that is ErrSnapshot", err)
	}
	if id := s.Read().Meta().ClusterID; id != "mine" {
		t.Errorf("the cluster id is %q now", id)
	}
	if ctx := canceled(); !errors.Is(ws.Wait(ctx), context.Canceled) {
		t.Error("watchers were woken")
	}
	return err
}

func TestEveryTruncationOfASnapshotIsRefused(t *testing.T) {
	data := encode(t, sample(t))
	for n := range data {
		refused(t, data[:n])
	}
}

func TestEveryFlippedBitOfASnapshotIsRefused(t *testing.T) {
	data := encode(t, sample(t))
	for i := range data {
		bent := bytes.Clone(data)
		bent[i] ^= 1 << (i % 8)
		refused(t, bent)
	}
}

func TestExtraBytesAfterASnapshotAreRefused(t *testing.T) {
	data := encode(t, sample(t))
	skippable := []byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0} // an empty zstd frame
	for _, extra := range [][]byte{{0}, data, skippable, make([]byte, sumSize)} {
		refused(t, append(bytes.Clone(data), extra...))
	}
}

func TestAReadErrorIsNotCalledDamage(t *testing.T) {
	data := encode(t, sample(t))
	broken := errors.New("disk on fire")
	err := New().Restore(io.MultiReader(bytes.NewReader(data[:len(data)/2]), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || errors.Is(err, ErrSnapshot) {
		t.Errorf("error is %v", err)
	}
}

// frames makes a file with a right checksum of raw frames.
func frames(t testing.TB, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	b.WriteString(magic + string([]byte{formatVersion}))
	z, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	z.Write(raw)
	z.Close()
	sum := sha256.Sum256(b.Bytes())
	return append(b.Bytes(), sum[:]...)
}

func unpack(t testing.TB, data []byte) []byte {
	t.Helper()
	z, err := zstd.NewReader(bytes.NewReader(data[len(magic)+1 : len(data)-sumSize]))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestMalformedSnapshotsWithARightChecksumAreRefused(t *testing.T) {
	raw := unpack(t, encode(t, sample(t)))
	replaced := func(old, new string) []byte { return bytes.Replace(raw, []byte(old), []byte(new), 1) }
	tests := map[string][]byte{
		"nothing":                   nil,
		"unknown table":             replaced("\x01\x05nodes", "\x01\x05modes"),
		"tables in another order":   replaced("\x01\x05nodes", "\x01\x06tokens"),
		"a row before any table":    append([]byte{frameRow, 0}, raw...),
		"an unknown frame":          append([]byte{9, 0}, raw...),
		"a frame of a huge size":    {frameRow, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"a length that never ends":  bytes.Repeat([]byte{0xff}, 20),
		"a row that is no message":  append([]byte{frameTable, 4, 'm', 'e', 't', 'a', frameRow, 1, 0xff}, raw[6:]...),
		"rows that are too few":     bytes.Replace(raw, []byte("\x02\x07\x0a\x02n1\x12\x01a"), nil, 1),
		"rows in another order":     bytes.Replace(raw, []byte("\x02\x07\x0a\x02n1\x12\x01a"), []byte("\x02\x07\x0a\x02n9\x12\x01a"), 1),
		"something after its end":   append(bytes.Clone(raw), 0),
		"a copy of itself at last":  append(bytes.Clone(raw), raw...),
		"an end without its tables": {frameEnd, 0},
	}
	for name, raw := range tests {
		t.Run(name, func(t *testing.T) { t.Log(refused(t, frames(t, raw))) })
	}
	if err := New().Restore(bytes.NewReader(frames(t, raw))); err != nil {
		t.Errorf("the whole is refused too: %v", err)
	}
}

func TestASnapshotOfANewerFormatIsNamedAsSuch(t *testing.T) {
	data := encode(t, sample(t))
	data[len(magic)] = formatVersion + 1
	if err := refused(t, data); !bytes.Contains([]byte(err.Error()), []byte("format is version 2")) {
		t.Errorf("error is %v", err)
	}
}

func TestRestoreWakesEveryWatcher(t *testing.T) {
	s := sample(t)
	data := encode(t, s)
	ws := NewWatchSet()
	s.Read().Watch(ws) // looked at nothing
	waits := make(chan error, 2)
	go func() { waits <- ws.Wait(t.Context()) }()
	go func() { waits <- s.WaitIndex(t.Context(), "epoch", 9) }()

	later := New()
	if err := later.Restore(bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	e := later.Begin()
	e.Commit(9, time.Unix(1_700_000_002, 0))
	if err := s.Restore(bytes.NewReader(encode(t, later))); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-waits; err != nil {
			t.Error(err)
		}
	}
}
