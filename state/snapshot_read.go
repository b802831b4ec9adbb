package state

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"sync"

	"github.com/hashicorp/go-memdb"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
)

// Restore replaces the state by a snapshot. It reads and checks all of it
// first: if it returns an error, which wraps ErrSnapshot unless reading itself
// failed, nothing has changed. Everything that was watched is woken, so that
// readers turn to the new state.
func (s *Store) Restore(r io.Reader) error {
	loaded, err := s.tables.load(r)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	restored := newTx(&reader{tables: s.tables, txn: loaded.db.Txn(false)}).Meta()

	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.abandon
	s.db, s.requests, s.abandon = loaded.db, loaded.requests, make(chan struct{})
	s.move(restored)
	close(old)
	return nil
}

// load reads a whole snapshot.
func (t *tables) load(r io.Reader) (*loader, error) {
	in := &verifier{r: r, sum: sha256.New()}
	if err := in.head(); err != nil {
		return nil, err
	}
	loaded, err := t.parse(in)
	if in.failed != nil {
		return nil, in.failed
	}
	// What is damaged may look like anything: the sum's word comes first.
	if sumErr := in.verify(); sumErr != nil {
		return nil, sumErr
	}
	return loaded, err
}

func (t *tables) parse(in *verifier) (*loader, error) {
	packed, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(32<<20))
	if err != nil {
		return nil, fmt.Errorf("open zstd: %w", err)
	}
	defer packed.Close()
	l := &loader{tables: t, db: t.newDB(), requests: newRequestLog(), in: bufio.NewReader(packed)}
	if err := l.load(); err != nil {
		return nil, err
	}
	return l, nil
}

// loader fills a new state from frames. Rows are read and decoded by one
// goroutine and put into the tables by another.
type loader struct {
	tables   *tables
	db       *memdb.MemDB
	requests *requestLog
	in       *bufio.Reader
	next     int // in tables.inOrder
	counts   []*commandpb.TableRows
	last     []byte // key of the newest row of the table

	content bytes.Buffer // of the newest frame

	read    loaded // not yet handed over
	batches chan loaded
	failed  chan struct{} // closed when rows cannot be put
}

// loaded are rows of one table.
type loaded struct {
	table string
	rows  []proto.Message
}

const (
	batchRows = 256 // of one loaded
	batches   = 8   // that wait
)

func (l *loader) load() error {
	l.batches, l.failed = make(chan loaded, batches), make(chan struct{})
	var reading sync.WaitGroup
	var readErr error
	reading.Go(func() {
		defer close(l.batches)
		readErr = l.readAll()
	})
	txn := l.db.Txn(true)
	defer txn.Abort()
	putErr := l.put(txn)
	reading.Wait()
	if err := cmp.Or(putErr, readErr); err != nil {
		return err
	}
	txn.Commit()
	return nil
}

// put puts rows into their tables until there are no more.
func (l *loader) put(txn *memdb.Txn) error {
	for batch := range l.batches {
		for _, row := range batch.rows {
			if request, ok := row.(*commandpb.Request); ok {
				l.requests.add(remembered(request))
				continue
			}
			if err := txn.Insert(batch.table, row); err != nil {
				close(l.failed)
				return damaged("table %s: %w", batch.table, err)
			}
		}
	}
	return nil
}

// hand hands over what has been read. It returns false if nobody wants it.
func (l *loader) hand() bool {
	if len(l.read.rows) == 0 {
		return true
	}
	select {
	case l.batches <- l.read:
		l.read.rows = nil
		return true
	case <-l.failed:
		return false
	}
}

// readAll reads all frames.
func (l *loader) readAll() error {
	for {
		kind, content, err := l.frame()
		if err != nil {
			return err
		}
		switch kind {
		case frameTable:
			err = l.table(string(content))
		case frameRow:
			err = l.row(content)
		case frameEnd:
			l.hand()
			return l.end(content)
		default:
			err = damaged("it has a frame of unknown kind %d", kind)
		}
		if err != nil {
			return err
		}
	}
}

// frame reads a frame. Its content is good until the next one is read.
func (l *loader) frame() (kind byte, content []byte, err error) {
	kind, err = l.in.ReadByte()
	if err != nil {
		return 0, nil, damaged("read frame: %w", err)
	}
	size, err := binary.ReadUvarint(l.in)
	if err != nil {
		return 0, nil, damaged("read frame length: %w", err)
	}
	if size > maxFrame {
		return 0, nil, damaged("a frame claims %d bytes", size)
	}
	// Not allocated at once: the size is only a claim.
	l.content.Reset()
	if _, err := io.CopyN(&l.content, l.in, int64(size)); err != nil {
		return 0, nil, damaged("read frame content: %w", err)
	}
	return kind, l.content.Bytes(), nil
}

func (l *loader) table(name string) error {
	all := l.tables.inOrder()
	if l.next >= len(all) || all[l.next].tableName() != name {
		return damaged("table %q is unknown or in the wrong place", name)
	}
	if !l.hand() {
		return errNotWanted
	}
	l.next++
	l.last, l.read.table = nil, name
	l.counts = append(l.counts, &commandpb.TableRows{Table: name})
	return nil
}

// errNotWanted ends the reading when rows cannot be put; that error counts.
var errNotWanted = errors.New("nobody wants the rows")

func (l *loader) row(content []byte) error {
	if l.next == 0 {
		return damaged("it has a row before its first table")
	}
	table := l.tables.inOrder()[l.next-1]
	row, id, err := table.decode(content)
	if err != nil {
		return damaged("%w", err)
	}
	if bytes.Compare(id, l.last) <= 0 {
		return damaged("table %s has a row twice or in the wrong place", table.tableName())
	}
	l.last = id
	l.counts[l.next-1].Rows++
	if l.read.rows = append(l.read.rows, row); len(l.read.rows) >= batchRows && !l.hand() {
		return errNotWanted
	}
	return nil
}

func (l *loader) end(content []byte) error {
	var end commandpb.SnapshotEnd
	if err := proto.Unmarshal(content, &end); err != nil {
		return damaged("decode end: %w", err)
	}
	if l.next != len(l.tables.inOrder()) {
		return damaged("%d tables are missing", len(l.tables.inOrder())-l.next)
	}
	if !proto.Equal(&end, &commandpb.SnapshotEnd{Tables: l.counts}) {
		return damaged("the numbers of rows are not those that were written")
	}
	if _, err := l.in.ReadByte(); !errors.Is(err, io.EOF) {
		return damaged("it goes on after its end")
	}
	return nil
}

// verifier passes on all but the last sumSize bytes, which are the sum of the
// others.
type verifier struct {
	r      io.Reader
	sum    hash.Hash
	held   []byte // read, and not known yet to be before the sum
	ended  bool
	failed error // of r, other than its end
}

// head reads what tells a snapshot from any other file.
func (v *verifier) head() error {
	head := make([]byte, len(magic)+1)
	_, err := io.ReadFull(v, head)
	switch {
	case v.failed != nil:
		return v.failed
	case err != nil || !bytes.HasPrefix(head, []byte(magic)):
		return damaged("it does not begin like one")
	case head[len(magic)] != formatVersion:
		return damaged("its format is version %d, this build reads version %d", head[len(magic)], formatVersion)
	}
	return nil
}

// Read returns io.EOF where the sum begins.
func (v *verifier) Read(p []byte) (int, error) {
	for len(v.held) <= sumSize && !v.ended {
		v.fill()
	}
	if v.failed != nil {
		return 0, v.failed
	}
	n := copy(p, v.held[:max(len(v.held)-sumSize, 0)])
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	v.sum.Write(v.held[:n])
	v.held = v.held[:copy(v.held, v.held[n:])]
	return n, nil
}

func (v *verifier) fill() {
	const chunk = 32 << 10
	start := len(v.held)
	v.held = slices.Grow(v.held, chunk)
	n, err := v.r.Read(v.held[start : start+chunk])
	v.held = v.held[:start+n]
	if err != nil {
		v.ended = true
		if !errors.Is(err, io.EOF) {
			v.failed = fmt.Errorf("read snapshot: %w", err)
		}
	}
}

// verify reads what is left and compares the sums.
func (v *verifier) verify() error {
	if _, err := io.Copy(io.Discard, v); err != nil {
		return err
	}
	if len(v.held) < sumSize || !bytes.Equal(v.sum.Sum(nil), v.held) {
		return damaged("it is damaged or cut short: its checksum does not match")
	}
	return nil
}
