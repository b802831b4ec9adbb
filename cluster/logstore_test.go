package cluster

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"

	"waypoint/cluster/datadir"
	"waypoint/errs"
)

func TestLogThatLacksRoomIsNotCalledDamaged(t *testing.T) {
	dir, err := datadir.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	err = refusedLog(dir, fmt.Errorf("make a segment: %w", syscall.ENOSPC))
	if !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "make room") || strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
}

func TestLogIsKeptWhereItWas(t *testing.T) {
	t.Parallel()
	cfg := config(t, "a")
	cfg.LogStore = "bolt"
	if _, err := Bootstrap(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	cfg.LogStore = "wal"
	_, err := Open(withState(cfg))
	if !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "waypoint server migrate-log -data-dir="+cfg.DataDir+" -to=wal") {
		t.Fatalf("with another log store: %v", err)
	}
	cfg.LogStore = ""
	run(t, cfg).ready()
}

func TestUnknownLogStoreIsRefused(t *testing.T) {
	t.Parallel()
	cfg := config(t, "a")
	cfg.LogStore = "paper"
	if _, err := Bootstrap(t.Context(), cfg); !errs.Is(err, errs.Invalid) {
		t.Errorf("got %v", err)
	}
}

func TestNodeGoesOnWithAMovedLog(t *testing.T) {
	t.Parallel()
	cfg := config(t, "a")
	if _, err := Bootstrap(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"bolt", "wal"} {
		m := run(t, cfg).ready()
		m.apply("with a log that is moved to " + to)
		if err := m.stop(); err != nil {
			t.Fatal(err)
		}
		moved, err := MigrateLog(t.Context(), cfg.DataDir, to, nil, hclog.NewNullLogger())
		if err != nil || moved.To != to || moved.From == to || moved.Entries < 3 {
			t.Fatalf("%+v, %v", moved, err)
		}
	}
	m := run(t, cfg).ready()
	if !m.sees("with a log that is moved to bolt") || !m.sees("with a log that is moved to wal") {
		t.Error("changes are gone")
	}
}
