package datadir

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"waypoint/errs"
	"waypoint/internal/seal"
)

func material() *Material {
	return &Material{
		Node: Node{ClusterID: "C", NodeID: "N", Name: "a"},
		Key:  []byte("key"), Cert: []byte("cert"), CA: []byte("ca"),
		Keyring: seal.New(), GossipKey: bytes.Repeat([]byte{7}, GossipKeySize),
	}
}

// node makes a complete data directory and lets go of it.
func node(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data")
	d, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Begin(Pending{Operation: "bootstrap", NodeID: "N"}); err != nil {
		t.Fatal(err)
	}
	if err := d.Save(material()); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNodeComesBackFromItsDirectory(t *testing.T) {
	d, err := Open(node(t))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got, err := d.Load()
	if err != nil {
		t.Fatal(err)
	}
	want := material()
	if got.Node.NodeID != "N" || !bytes.Equal(got.Key, want.Key) || !bytes.Equal(got.CA, want.CA) ||
		!bytes.Equal(got.Cert, want.Cert) || !bytes.Equal(got.GossipKey, want.GossipKey) {
		t.Errorf("got %+v", got)
	}
}

// What a full disk refuses must not be taken for damage: nobody should throw a
// node away that only lacks room.
func TestAFullDiskIsNotCalledDamage(t *testing.T) {
	path := node(t)
	if err := os.Symlink("/dev/full", filepath.Join(path, fileProbe)); err != nil {
		t.Fatal(err)
	}
	_, err := Open(path)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "nothing is lost") {
		t.Fatalf("on a full disk: %v", err)
	}
	d, err := Open(path)
	if err != nil {
		t.Fatalf("with room again: %v", err)
	}
	defer d.Close()
	if has(filepath.Join(path, fileProbe)) {
		t.Error("something is left behind")
	}
}

func TestOnlyTheOwnerCanRead(t *testing.T) {
	path := node(t)
	err := filepath.WalkDir(path, func(p string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", p, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNodeIsNotMadeTwice(t *testing.T) {
	path := node(t)
	if _, err := Create(path); !errs.Is(err, errs.AlreadyExists) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	// The refusal lets go of the directory.
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
}

func TestDirectoryIsForOneProcess(t *testing.T) {
	path := node(t)
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := Open(path); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
}

func TestMissingNodeIsReported(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errs.Is(err, errs.NotFound) {
		t.Errorf("got %v", err)
	}
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Load(); !errs.Is(err, errs.NotFound) {
		t.Errorf("got %v", err)
	}
}

func TestInterruptedStartIsReportedAndDoneAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	d, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Begin(Pending{Operation: "join", NodeID: "N", TokenID: "T"}); err != nil {
		t.Fatal(err)
	}
	if err := d.SaveKey([]byte("key")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Load(); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "again") {
		t.Errorf("load of half a node: %v", err)
	}
	d.Close()

	if d, err = Create(path); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	p, err := d.Pending()
	if err != nil || p == nil || p.NodeID != "N" || p.TokenID != "T" {
		t.Fatalf("pending: %v, %v", p, err)
	}
	if key, err := d.PendingKey(); err != nil || string(key) != "key" {
		t.Errorf("key of the interrupted join: %q, %v", key, err)
	}
	if err := d.Save(material()); err != nil {
		t.Fatal(err)
	}
	if p, err := d.Pending(); p != nil || err != nil {
		t.Errorf("still pending: %v, %v", p, err)
	}
}

func TestDamagedFileIsNamedAndNothingIsReplaced(t *testing.T) {
	for _, name := range []string{fileNode, fileKey, fileCert, fileCA, fileKeyring, fileGossip} {
		for _, content := range []string{"", "x", "{\"format\":1}"} {
			path := node(t)
			file := filepath.Join(path, name)
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			d, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.Load(); err == nil || !strings.Contains(err.Error(), file) {
				t.Errorf("%s = %q: %v", name, content, err)
			}
			d.Close()
			if _, err := Create(path); err == nil {
				t.Errorf("%s = %q: the directory was made anew", name, content)
			}
			if got, _ := os.ReadFile(file); string(got) != content {
				t.Errorf("%s was changed to %q", name, got)
			}
		}
	}
}

func TestLostNodeFileIsNotAnEmptyDirectory(t *testing.T) {
	path := node(t)
	if err := os.Remove(filepath.Join(path, fileNode)); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path); !errs.Is(err, errs.Conflict) {
		t.Errorf("create: %v", err)
	}
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Load(); !errs.Is(err, errs.Conflict) {
		t.Errorf("load: %v", err)
	}
}

func TestLaterFormatIsRefused(t *testing.T) {
	path := node(t)
	later := `{"format":2,"cluster_id":"C","node_id":"N"}`
	if err := os.WriteFile(filepath.Join(path, fileNode), []byte(later), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Load(); err == nil || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("got %v", err)
	}
}
