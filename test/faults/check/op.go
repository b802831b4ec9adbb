// Package check judges histories: it takes what clients of a cluster did and
// saw while nodes and networks failed, and says whether the cluster kept its
// promises. It must not know how a history came about: it calls nobody, and the
// only thing it does besides thinking is to write a history and its picture to a
// folder.
package check

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// The operations of a history.
const (
	Read      = "read"  // current
	StaleRead = "stale" // whatever the node happens to know
	Write     = "write" // unconditional
	CAS       = "cas"   // only if the register has the version Expect
)

// Outcome is what a client may conclude from how its operation ended.
type Outcome string

// The outcomes.
const (
	OK      Outcome = "ok"
	Refused Outcome = "refused" // by the state: its condition did not hold
	NotDone Outcome = "notdone" // certainly without effect
	Unknown Outcome = "unknown" // it may take effect at any time, or never
)

// Op is one operation of one client on one register.
type Op struct {
	Client  int     `json:"client"`
	Node    string  `json:"node,omitempty"` // where the client's calls went when it began; for people
	Call    int64   `json:"call"`           // ns of the one monotonic clock of the history
	Return  int64   `json:"return"`
	Kind    string  `json:"op"`
	Key     string  `json:"key"`
	Value   string  `json:"value,omitempty"`   // written or read; no two operations write the same
	Expect  uint64  `json:"expect,omitempty"`  // of CAS; 0: the register must not exist
	Version uint64  `json:"version,omitempty"` // in the answer; of writes perhaps a later one; 0: no register
	Epoch   string  `json:"epoch,omitempty"`   // of Index
	Index   uint64  `json:"index,omitempty"`   // of the state, as the answer tells it; 0: none was told
	Outcome Outcome `json:"outcome"`
	Error   string  `json:"error,omitempty"`
}

// writes tells whether the operation may change the register.
func (o *Op) writes() bool { return o.Kind == Write || o.Kind == CAS }

// mayCount tells whether the operation can have had an effect.
func (o *Op) mayCount() bool { return o.writes() && (o.Outcome == OK || o.Outcome == Unknown) }

// String is the operation in one line, for people.
func (o *Op) String() string {
	text := fmt.Sprintf("[%s, %s] client %d", at(o.Call), at(o.Return), o.Client)
	if o.Node != "" {
		text += " at " + o.Node
	}
	return text + ": " + o.what()
}

func (o *Op) what() string {
	switch {
	case !o.writes() && o.Outcome != OK:
		return fmt.Sprintf("%s %s failed", o.Kind, o.Key)
	case !o.writes() && o.Version == 0:
		return fmt.Sprintf("%s %s: nothing there", o.Kind, o.Key)
	case !o.writes():
		return fmt.Sprintf("%s %s: %s at version %d", o.Kind, o.Key, o.Value, o.Version)
	case o.Kind == CAS:
		return fmt.Sprintf("cas %s = %s if version %d: %s", o.Key, o.Value, o.Expect, o.Outcome)
	default:
		return fmt.Sprintf("write %s = %s: %s", o.Key, o.Value, o.Outcome)
	}
}

// at is a time of the history in seconds.
func at(ns int64) string { return fmt.Sprintf("%.6f", time.Duration(ns).Seconds()) }

// byCall returns the operations in the order of their calls.
func byCall(history []Op) []Op {
	return slices.SortedStableFunc(slices.Values(history), func(a, b Op) int {
		switch {
		case a.Call < b.Call:
			return -1
		case a.Call > b.Call:
			return 1
		}
		return 0
	})
}

// byKey returns the operations of each key, in the order of their calls, and the
// keys in the order of their first one.
func byKey(history []Op) (keys []string, of map[string][]Op) {
	of = map[string][]Op{}
	for _, o := range byCall(history) {
		if of[o.Key] == nil {
			keys = append(keys, o.Key)
		}
		of[o.Key] = append(of[o.Key], o)
	}
	return keys, of
}

// WriteLines writes the records of a history as one line of JSON each.
func WriteLines[T any](w io.Writer, records []T) error {
	out := bufio.NewWriter(w)
	encoder := json.NewEncoder(out)
	for i := range records {
		if err := encoder.Encode(&records[i]); err != nil {
			return err
		}
	}
	return out.Flush()
}

// ReadLines reads what WriteLines has written.
func ReadLines[T any](r io.Reader) ([]T, error) {
	decoder := json.NewDecoder(r)
	var records []T
	for {
		var record T
		switch err := decoder.Decode(&record); err {
		case nil:
			records = append(records, record)
		case io.EOF:
			return records, nil
		default:
			return nil, fmt.Errorf("record %d: %w", len(records)+1, err)
		}
	}
}
