package command

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"waypoint/cluster"
	"waypoint/version"
)

func TestLogOfAStoppedNodeIsMoved(t *testing.T) {
	w := newWorld(t)
	data := filepath.Join(w.Dir, "n1")
	if _, err := cluster.Bootstrap(t.Context(), cluster.Config{DataDir: data, Name: "n1", Build: version.Build()}); err != nil {
		t.Fatal(err)
	}
	w.prints("The log of "+data+" was moved from wal to bolt (entries: 2).\n", "server", "migrate-log", "-data-dir=n1", "-to=bolt")
	w.prints("The log of "+data+" is kept in bolt already; nothing was moved.\n", "server", "migrate-log", "-data-dir=n1", "-to=bolt")
	_, stdout, stderr := w.run("server", "migrate-log", "-data-dir=n1", "-to=wal", "-json")
	var got map[string]any
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || got["from"] != "bolt" || got["to"] != "wal" || got["entries"] != 2.0 || got["moved"] != true {
		t.Errorf("with -json (%v): %s%s", err, stdout, stderr)
	}
}

func TestOnlyTheLogOfAStoppedNodeIsMoved(t *testing.T) {
	w := newWorld(t)
	data := filepath.Join(w.Dir, "n1")
	w.fails(codeFailed, "does not exist", "server", "migrate-log", "-data-dir=n1", "-to=bolt")
	if _, err := cluster.Bootstrap(t.Context(), cluster.Config{DataDir: data, Name: "n1", Build: version.Build()}); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Open(filepath.Join(data, "lock")) // as a node that runs holds it
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	w.fails(codeFailed, "stop the node first", "server", "migrate-log", "-data-dir=n1", "-to=bolt")
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := w.run("server", "migrate-log", "-data-dir=n1", "-to=bolt"); code != 0 {
		t.Errorf("of the stopped node: %s", stderr)
	}
}

func TestLongMoveTellsHowFarItIs(t *testing.T) {
	w := newWorld(t)
	var told strings.Builder
	now := time.Unix(0, 0)
	w.Stderr, w.Now = &told, func() time.Time { return now }
	progress := copying(w.Env)
	for done := range uint64(5) {
		progress(done, 4)
		now = now.Add(600 * time.Millisecond)
	}
	if want := "Copied 2 of 4 entries.\nCopied 4 of 4 entries.\n"; told.String() != want {
		t.Errorf("told %q, want %q", told.String(), want)
	}
}
