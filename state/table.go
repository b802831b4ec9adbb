package state

import (
	"fmt"
	"iter"
	"slices"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"
)

// primary is the name that go-memdb wants for the index of the row's own key.
const primary = "id"

// table describes the rows of one kind: their key and their other indexes.
type table[M proto.Message] struct {
	name    string
	id      func(M) []byte
	indexes []index[M]
}

// index is a further order of a table's rows. Its keys need not be unique. A
// row whose key is nil is not in the index.
type index[M proto.Message] struct {
	name string
	key  func(M) []byte
}

// rows is what the store and the snapshot codec need of a table of any kind.
type rows interface {
	schema() *memdb.TableSchema // nil: the rows are not in go-memdb
	tableName() string
	decode(data []byte) (row proto.Message, id []byte, err error)
	every(r *reader) iter.Seq[proto.Message]
	accepts(row proto.Message) bool
	same(r *reader, row proto.Message) proto.Message
}

func (t *table[M]) tableName() string { return t.name }

func (t *table[M]) schema() *memdb.TableSchema {
	indexes := map[string]*memdb.IndexSchema{
		primary: {Name: primary, Unique: true, Indexer: indexer[M]{t.id}},
	}
	for _, ix := range t.indexes {
		indexes[ix.name] = &memdb.IndexSchema{Name: ix.name, AllowMissing: true, Indexer: indexer[M]{ix.key}}
	}
	return &memdb.TableSchema{Name: t.name, Indexes: indexes}
}

func (t *table[M]) accepts(row proto.Message) bool {
	_, ok := row.(M)
	return ok
}

// decode parses a row. It refuses a row without a key.
func (t *table[M]) decode(data []byte) (proto.Message, []byte, error) {
	var none M
	row := none.ProtoReflect().New().Interface().(M)
	if err := proto.Unmarshal(data, row); err != nil {
		return nil, nil, fmt.Errorf("decode row of %s: %w", t.name, err)
	}
	return row, t.id(row), nil
}

// get returns the row with the key, or the nil message.
func (t *table[M]) get(r *reader, id []byte) M {
	var none M
	watch, found, err := r.txn.FirstWatch(t.name, primary, id)
	check(t.name, err)
	r.observe(watch)
	if found == nil {
		return none
	}
	return found.(M)
}

// same returns the row that has the key of this one, or nil.
func (t *table[M]) same(r *reader, row proto.Message) proto.Message {
	found, err := r.txn.First(t.name, primary, t.id(row.(M)))
	check(t.name, err)
	if found == nil {
		return nil
	}
	return found.(M)
}

// ascend yields the rows whose index key has the prefix, in key order.
func (t *table[M]) ascend(r *reader, index string, prefix []byte) iter.Seq[M] {
	found, err := r.txn.Get(t.name, index, prefix)
	check(t.name, err)
	r.observe(found.WatchCh())
	return yield[M](found)
}

// descend yields the rows whose index key has the prefix, in reverse order.
func (t *table[M]) descend(r *reader, index string, prefix []byte) iter.Seq[M] {
	found, err := r.txn.GetReverse(t.name, index, prefix)
	check(t.name, err)
	r.observe(found.WatchCh())
	return yield[M](found)
}

func (t *table[M]) every(r *reader) iter.Seq[proto.Message] {
	return func(more func(proto.Message) bool) {
		for row := range t.ascend(r, primary, nil) {
			if !more(row) {
				return
			}
		}
	}
}

func yield[M proto.Message](found memdb.ResultIterator) iter.Seq[M] {
	return func(more func(M) bool) {
		for row := found.Next(); row != nil; row = found.Next() {
			if !more(row.(M)) {
				return
			}
		}
	}
}

// indexer adapts a key function to go-memdb. Queries pass raw key bytes.
type indexer[M proto.Message] struct {
	key func(M) []byte
}

var _ memdb.SingleIndexer = indexer[proto.Message]{}

// FromObject returns the key of a row.
func (x indexer[M]) FromObject(row any) (bool, []byte, error) {
	k := x.key(row.(M))
	// go-memdb appends to what it gets, so the key must own its memory.
	return len(k) > 0, slices.Clip(k), nil
}

// FromArgs returns the raw key of a query.
func (x indexer[M]) FromArgs(args ...any) ([]byte, error) {
	if len(args) != 1 {
		return nil, fmt.Errorf("a query has one key, not %d", len(args))
	}
	return args[0].([]byte), nil
}

// check stops the process on what can only be a defect of this package: an
// unknown table or index, or a row without a key.
func check(table string, err error) {
	if err != nil {
		panic(fmt.Sprintf("state: table %s: %v", table, err))
	}
}
