package contexts

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"waypoint/errs"
)

func store(t *testing.T) *Store {
	t.Helper()
	dir := t.TempDir()
	s, err := New(func(name string) string {
		if name == "XDG_CONFIG_HOME" {
			return dir
		}
		return ""
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContextComesBackAsItWasPut(t *testing.T) {
	s := store(t)
	want := &Context{Addrs: []string{"a:9701", "b:9701"}, CA: "sha256:00", Token: "wp1_x"}
	if err := s.Put("prod", want); err != nil {
		t.Fatal(err)
	}
	got, err := s.Get("prod")
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestOnlyTheOwnerReadsContexts(t *testing.T) {
	s := store(t)
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.Put("prod", &Context{}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{
		s.dir:                             0o700,
		s.Path("prod"):                    0o600,
		filepath.Join(s.dir, defaultFile): 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
	}
}

func TestFirstContextBecomesTheDefault(t *testing.T) {
	s := store(t)
	for _, name := range []string{"one", "two"} {
		if err := s.Put(name, &Context{}); err != nil {
			t.Fatal(err)
		}
	}
	if name, err := s.Default(); err != nil || name != "one" {
		t.Fatalf("default is %q, %v", name, err)
	}
	if err := s.Use("two"); err != nil {
		t.Fatal(err)
	}
	if name, err := s.Default(); err != nil || name != "two" {
		t.Fatalf("default is %q, %v", name, err)
	}
	if names, err := s.Names(); err != nil || !reflect.DeepEqual(names, []string{"one", "two"}) {
		t.Fatalf("names are %v, %v", names, err)
	}
}

func TestDeletingTheDefaultLeavesNone(t *testing.T) {
	s := store(t)
	if err := s.Put("one", &Context{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete("one"); err != nil {
		t.Fatal(err)
	}
	if name, err := s.Default(); err != nil || name != "" {
		t.Fatalf("default is %q, %v", name, err)
	}
	if _, err := s.Get("one"); !errs.Is(err, errs.NotFound) {
		t.Fatalf("got %v", err)
	}
}

func TestMissingAndMisnamedContextsAreRefused(t *testing.T) {
	s := store(t)
	if err := s.Use("none"); !errs.Is(err, errs.NotFound) {
		t.Errorf("use: %v", err)
	}
	if err := s.Delete("none"); !errs.Is(err, errs.NotFound) {
		t.Errorf("delete: %v", err)
	}
	for _, name := range []string{"", "../x", "a/b", ".hidden", "a b"} {
		if err := s.Put(name, &Context{}); !errs.Is(err, errs.Invalid) {
			t.Errorf("put %q: %v", name, err)
		}
	}
}

func TestDamagedContextIsNamedAndCanBeDeleted(t *testing.T) {
	s := store(t)
	if err := s.Put("one", &Context{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Path("one"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("one"); !errs.Is(err, errs.Invalid) {
		t.Fatalf("got %v", err)
	}
	if err := s.Delete("one"); err != nil {
		t.Fatal(err)
	}
}

func TestWithoutAHomeThereIsNoStore(t *testing.T) {
	if _, err := New(func(string) string { return "" }); !errs.Is(err, errs.Invalid) {
		t.Fatalf("got %v", err)
	}
}
