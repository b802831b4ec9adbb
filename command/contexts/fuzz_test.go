package contexts_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"waypoint/command/contexts"
	"waypoint/errs"
)

// Any context file under any name: it is refused, or it is the same after it was
// written again; and no name leads out of the folder.
func FuzzContext(f *testing.F) {
	f.Add("prod", []byte(`{"addrs":["a:1","b:2"],"ca":"sha256:00","token":"wp1_x"}`))
	f.Add("../../x", []byte(`{}`))
	f.Add("prod", []byte(`null`))
	f.Add("prod", []byte(`{"addrs":[null],"ca":7}`))
	dir := f.TempDir()
	store, err := contexts.New(func(name string) string {
		if name == "XDG_CONFIG_HOME" {
			return dir
		}
		return ""
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		if contexts.CheckName(name) != nil {
			if _, err := store.Get(name); !errs.Is(err, errs.Invalid) {
				t.Fatalf("name %q: %v", name, err)
			}
			if err := store.Put(name, &contexts.Context{}); !errs.Is(err, errs.Invalid) {
				t.Fatalf("name %q: %v", name, err)
			}
			return
		}
		if filepath.Dir(store.Path(name)) != filepath.Join(dir, "waypoint", "contexts") {
			t.Fatalf("name %q leads to %s", name, store.Path(name))
		}
		if err := os.MkdirAll(filepath.Dir(store.Path(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(store.Path(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := store.Get(name)
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Fatalf("error of another kind: %v", err)
			}
		} else {
			if err := store.Put(name, c); err != nil {
				t.Fatal(err)
			}
			if again, err := store.Get(name); err != nil || !reflect.DeepEqual(again, c) {
				t.Fatalf("%+v became %+v, %v", c, again, err)
			}
		}
		if err := store.Delete(name); err != nil {
			t.Fatal(err)
		}
	})
}
