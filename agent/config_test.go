package agent

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waypoint/errs"
)

func TestNothingIsMadeWhereTheNodeCouldNotListen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr, dir := taken.Addr().String(), filepath.Join(t.TempDir(), "n1")
	for flag, cfg := range map[string]Config{
		"-addr":        {DataDir: dir, Addr: addr, GossipAddr: "127.0.0.1:0", Bootstrap: true},
		"-gossip-addr": {DataDir: dir, Addr: "127.0.0.1:0", GossipAddr: addr, Bootstrap: true},
	} {
		err := cfg.checkFirstStart(t.Context())
		if !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), flag+"="+addr) {
			t.Errorf("%s: %v", flag, err)
		}
	}
	free := Config{DataDir: dir, Addr: "127.0.0.1:0", GossipAddr: "127.0.0.1:0", Bootstrap: true}
	if err := free.checkFirstStart(t.Context()); err != nil {
		t.Error(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "node.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (Config{DataDir: dir, Addr: addr, Bootstrap: true}).checkFirstStart(t.Context()); err != nil {
		t.Errorf("of a folder that is not empty: %v", err)
	}
}

func TestEveryMistakeIsTold(t *testing.T) {
	err := Config{Bootstrap: true, JoinToken: "x", Addr: "foo", Profile: "z", LogStore: "y"}.Validate()
	for _, want := range []string{"-data-dir", "only one of them", "timing profile", `-log-store="y"`, `-addr="foo"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not tell of %s", err, want)
		}
	}
}
