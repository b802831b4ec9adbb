package state

import (
	"fmt"
	"strings"
	"testing"

	"waypoint/api/configpb"
	"waypoint/api/projectpb"
)

func TestFilesCollideByPathOrFolder(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"/a", "/a", true}, {"/a", "/a/b", true}, {"/a", "/a/b/c", true},
		{"/a", "/ab", false}, {"/a/b", "/a/c", false}, {"/a/b", "/a.b", false},
	} {
		a, b := &configpb.File{Path: c.a}, &configpb.File{Path: c.b}
		if FilesCollide(a, b) != c.want || FilesCollide(b, a) != c.want {
			t.Errorf("%s and %s: want %v", c.a, c.b, c.want)
		}
	}
	if FilesCollide(nil, &configpb.File{Path: "/a"}) || FilesCollide(nil, nil) {
		t.Error("no file collides")
	}
}

func TestCollisionIsFoundAmongMany(t *testing.T) {
	for _, c := range []struct{ paths, want string }{
		{"/a /a-b /a.b /ab /b/a", ""},
		{"/a/b /a-b /a /a.b /ab", "/a /a/b"},
		{"/a/c/d /a/b/c /a-b /a/b-c /a/b", "/a/b /a/b/c"},
		{"/z /a-b /m /a-b", "/a-b /a-b"},
		{"", ""},
	} {
		list := []*configpb.Variable{{Name: "ENV"}}
		for n, path := range strings.Fields(c.paths) {
			list = append(list, to(nil, configpb.Origin_ORIGIN_SET, fmt.Sprint("F", n), path))
		}
		got := ""
		if a, b := Collision(list); a != nil {
			got = a.GetFile().GetPath() + " " + b.GetFile().GetPath()
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.paths, got, c.want)
		}
	}
}

func TestEffectiveConfigHasOneVariablePerPath(t *testing.T) {
	const file, set = configpb.Origin_ORIGIN_FILE, configpb.Origin_ORIGIN_SET
	global, project := &configpb.Scope{}, &configpb.Scope{Project: "p"}
	web, prod := &configpb.Scope{Project: "p", App: "a"}, &configpb.Scope{Project: "p", App: "a", Workspace: "w"}
	for name, c := range map[string]struct {
		vars []*configpb.Variable
		want string
	}{
		"a narrower path wins, whatever the names": {[]*configpb.Variable{
			to(global, set, "A", "/x"), to(web, set, "B", "/x"), to(project, set, "C", "/x"), to(global, set, "D", "/y"),
		}, "B=/x D=/y "},
		"a narrower name wins as a whole": {[]*configpb.Variable{
			to(global, set, "A", "/x"), to(web, set, "A", ""), to(global, set, "B", ""), to(prod, set, "B", "/x"),
		}, "A= B=/x "},
		"what a narrower name covers covers nothing": {[]*configpb.Variable{
			to(web, set, "A", "/x"), to(prod, set, "A", "/y"), to(global, set, "B", "/x"),
		}, "A=/y B=/x "},
		"set by hand is narrower than the project file": {[]*configpb.Variable{
			to(web, file, "A", "/x"), to(web, set, "B", "/x"),
		}, "B=/x "},
		"a folder of a narrower file is no file": {[]*configpb.Variable{
			to(global, set, "A", "/x"), to(web, set, "B", "/x/y"), to(global, set, "C", "/x/y/z"),
		}, "B=/x/y "},
		"what a covered file collides with stays": {[]*configpb.Variable{
			to(global, set, "A", "/x/y/z"), to(project, set, "B", "/x/y"), to(web, set, "C", "/x/y/z/z"), to(global, set, "D", "/x/z"),
		}, "C=/x/y/z/z D=/x/z "},
	} {
		t.Run(name, func(t *testing.T) {
			s := New()
			commit(s, func(w *WriteTx) {
				for _, v := range c.vars {
					Put(w, v)
				}
			})
			got := ""
			vars, _ := s.Read().EffectiveConfig(app("p", "a", "w"))
			for _, v := range vars {
				got += fmt.Sprintf("%s=%s ", v.GetName(), v.GetFile().GetPath())
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func to(scope *configpb.Scope, origin configpb.Origin, name, path string) *configpb.Variable {
	v := &configpb.Variable{Scope: scope, Name: name, Origin: origin, Sealed: []byte("x")}
	if path != "" {
		v.File = &configpb.File{Path: path, Mode: 0o600}
	}
	return v
}

func TestPolicyIsOfOneApp(t *testing.T) {
	s := New()
	policy := &configpb.Policy{Reload: configpb.Reload_RELOAD_NEXT_START}
	commit(s, func(w *WriteTx) {
		Put(w, &projectpb.Project{Name: "p", Apps: []*projectpb.App{{Name: "a", ConfigPolicy: policy}, {Name: "b"}}})
	})
	tx := s.Read()
	if tx.ConfigPolicy("p", "a") != policy {
		t.Errorf("got %v", tx.ConfigPolicy("p", "a"))
	}
	for _, other := range [][2]string{{"p", "b"}, {"p", "none"}, {"none", "a"}} {
		if got := tx.ConfigPolicy(other[0], other[1]); got != nil {
			t.Errorf("%v has the policy %v", other, got)
		}
	}
}
