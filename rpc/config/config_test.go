package config_test

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"waypoint/api/authpb"
	"waypoint/api/commandpb"
	"waypoint/api/configpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/rpc/config"
	"waypoint/rpc/rpctest"
)

func start(t *testing.T) (*rpctest.Fixture, *rpctest.Server, configpb.ConfigClient) {
	f := rpctest.New(t)
	server := f.Serve(config.New(config.Config{Reader: f.Reader(), Applier: f, Sealer: f.Keyring}))
	f.Do(&commandpb.Command_ProjectApply{ProjectApply: &commandpb.ProjectApply{Name: "shop", Apps: []string{"web"}}})
	return f, server, configpb.NewConfigClient(server.Dial(f.User))
}

func mustBe(t *testing.T, err error, kind errs.Kind, word string) {
	t.Helper()
	if !errs.Is(err, kind) || !strings.Contains(err.Error(), word) {
		t.Errorf("error %v, want kind %v and the word %q", err, kind, word)
	}
}

func set(scope *configpb.Scope, name, value string) *configpb.Change {
	return &configpb.Change{Scope: scope, Name: name, Value: value}
}

var web = &configpb.Scope{Project: "shop", App: "web"}

func TestValuesAreSealedInTheStateAndOpenForUsers(t *testing.T) {
	f, server, client := start(t)
	var command []byte
	f.OnApply(func(c *commandpb.Command) error { command, _ = proto.Marshal(c); return nil })
	answer, err := client.Set(t.Context(), &configpb.SetRequest{Changes: []*configpb.Change{set(web, "PASSWORD", "hunter2")}})
	if err != nil {
		t.Fatal(err)
	}
	if v := answer.GetVariables()[0]; v.GetVersion() != 1 || v.GetValue() != "" || len(v.GetSealed()) > 0 {
		t.Errorf("set answered %v", v)
	}
	if bytes.Contains(command, []byte("hunter2")) {
		t.Error("the command holds the value in the clear")
	}
	got, err := client.Get(t.Context(), &configpb.GetRequest{Scope: web})
	if err != nil || len(got.GetVariables()) != 1 || got.GetVariables()[0].GetValue() != "hunter2" || len(got.GetVariables()[0].GetSealed()) > 0 {
		t.Errorf("a user gets %v %v", got, err)
	}
	_, text := f.Token(authpb.TokenKind_TOKEN_KIND_RUNNER, "builder")
	got, err = configpb.NewConfigClient(server.Dial(text)).Get(t.Context(), &configpb.GetRequest{Scope: web})
	if err != nil || len(got.GetVariables()) != 1 || got.GetVariables()[0].GetValue() != "" {
		t.Errorf("a runner gets %v %v", got, err)
	}
}

func TestRetrySealsToTheSameCommand(t *testing.T) {
	_, _, client := start(t)
	ctx := rpctest.WithRequestID(t.Context(), ids.New())
	req := &configpb.SetRequest{Changes: []*configpb.Change{set(web, "A", "1"), set(nil, "B", "1")}}
	for range 2 {
		answer, err := client.Set(ctx, req)
		if err != nil || len(answer.GetVariables()) != 2 || answer.GetVariables()[0].GetVersion() != 1 {
			t.Fatalf("%v %v", answer, err)
		}
	}
	req.Changes[0].Value = "2"
	_, err := client.Set(ctx, req)
	mustBe(t, err, errs.Conflict, "request")
}

func TestNarrowerScopesWin(t *testing.T) {
	_, _, client := start(t)
	ctx := t.Context()
	narrow := &configpb.Scope{Project: "shop", App: "web", Workspace: "default"}
	_, err := client.Set(ctx, &configpb.SetRequest{Changes: []*configpb.Change{
		set(nil, "WHO", "all"), set(&configpb.Scope{Project: "shop"}, "WHO", "shop"), set(narrow, "WHO", "web"), set(nil, "ONLY", "all"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	values := func(req *configpb.GetRequest) string {
		t.Helper()
		answer, err := client.Get(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, v := range answer.GetVariables() {
			list = append(list, v.GetName()+"="+v.GetValue())
		}
		return strings.Join(list, " ")
	}
	for want, req := range map[string]*configpb.GetRequest{
		"ONLY=all WHO=web":          {Scope: web, Effective: true},
		"ONLY=all WHO=shop":         {Scope: &configpb.Scope{Project: "shop", App: "web", Workspace: "beta"}, Effective: true},
		"ONLY=all WHO=all WHO=shop": {Scope: web},
		"WHO=shop":                  {Scope: &configpb.Scope{Project: "shop"}, Exact: true},
		"WHO=all WHO=shop WHO=web":  {Scope: narrow, Name: "WHO"},
		"ONLY=all WHO=all":          {},
	} {
		if got := values(req); got != want {
			t.Errorf("%v: got %q, want %q", req, got, want)
		}
	}
}

func TestCompareAndSetByVersion(t *testing.T) {
	_, _, client := start(t)
	ctx := t.Context()
	absent := set(web, "A", "1")
	absent.IfVersion = proto.Uint64(0)
	if _, err := client.Set(ctx, &configpb.SetRequest{Changes: []*configpb.Change{absent}}); err != nil {
		t.Fatal(err)
	}
	_, err := client.Set(ctx, &configpb.SetRequest{Changes: []*configpb.Change{set(web, "B", "1"), absent}})
	mustBe(t, err, errs.Conflict, "A")
	got, err := client.Get(ctx, &configpb.GetRequest{Scope: web})
	if err != nil || len(got.GetVariables()) != 1 {
		t.Errorf("a refused request left %v %v", got, err)
	}
	gone := &configpb.Change{Scope: web, Name: "A", Delete: true, IfVersion: proto.Uint64(1)}
	answer, err := client.Set(ctx, &configpb.SetRequest{Changes: []*configpb.Change{gone}})
	if err != nil || len(answer.GetVariables()) != 0 {
		t.Errorf("delete: %v %v", answer, err)
	}
}

func TestProjectFileReplacesItsOwnVariables(t *testing.T) {
	_, _, client := start(t)
	ctx := t.Context()
	file := func(name string) *configpb.Change {
		return &configpb.Change{Scope: web, Name: name, Value: "file", Origin: configpb.Origin_ORIGIN_FILE}
	}
	for _, req := range []*configpb.SetRequest{
		{Changes: []*configpb.Change{set(web, "HAND", "hand"), set(web, "B", "hand")}},
		{Changes: []*configpb.Change{file("A"), file("B")}, ReplaceFileScope: web},
		{Changes: []*configpb.Change{file("B")}, ReplaceFileScope: web},
	} {
		if _, err := client.Set(ctx, req); err != nil {
			t.Fatal(err)
		}
	}
	got, err := client.Get(ctx, &configpb.GetRequest{Scope: web, Effective: true})
	if err != nil || len(got.GetVariables()) != 2 || got.GetVariables()[0].GetValue() != "hand" {
		t.Errorf("effective: %v %v", got, err)
	}
}

func TestBadChangesAreRefused(t *testing.T) {
	_, _, client := start(t)
	large := strings.Repeat("x", config.MaxValue)
	for name, c := range map[string]struct {
		req  *configpb.SetRequest
		kind errs.Kind
		word string
	}{
		"nothing":    {&configpb.SetRequest{}, errs.Invalid, "nothing"},
		"name":       {one(set(web, "1A", "")), errs.Invalid, "variable name"},
		"equals":     {one(set(web, "A=B", "")), errs.Invalid, "variable name"},
		"empty name": {one(set(web, "", "")), errs.Invalid, "variable name"},
		"NUL":        {one(set(web, "A", "a\x00b")), errs.Invalid, "NUL"},
		"too large":  {one(set(web, "A", large+"x")), errs.Exhausted, "65536"},
		"together": {&configpb.SetRequest{Changes: []*configpb.Change{
			set(web, "A", large), set(web, "B", large), set(web, "C", large), set(web, "D", large), set(web, "E", "x")}}, errs.Exhausted, "fewer"},
		"twice":            {&configpb.SetRequest{Changes: []*configpb.Change{set(web, "A", "1"), set(web, "A", "2")}}, errs.Invalid, "twice"},
		"app alone":        {one(set(&configpb.Scope{App: "web"}, "A", "1")), errs.Invalid, "project"},
		"bad project":      {one(set(&configpb.Scope{Project: "a/b"}, "A", "1")), errs.Invalid, "project name"},
		"sealed":           {one(&configpb.Change{Scope: web, Name: "A", Sealed: []byte("x")}), errs.Invalid, "sealed"},
		"delete and set":   {one(&configpb.Change{Scope: web, Name: "A", Value: "x", Delete: true}), errs.Invalid, "deleted"},
		"file without app": {one(&configpb.Change{Name: "A", Origin: configpb.Origin_ORIGIN_FILE}), errs.Invalid, "project file"},
		"unknown origin":   {one(&configpb.Change{Scope: web, Name: "A", Origin: 9}), errs.Invalid, "origin"},
		"replace global":   {&configpb.SetRequest{ReplaceFileScope: &configpb.Scope{}}, errs.Invalid, "project file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.Set(t.Context(), c.req)
			mustBe(t, err, c.kind, c.word)
		})
	}
	if _, err := client.Set(t.Context(), one(set(web, "A", large))); err != nil {
		t.Errorf("the largest value allowed: %v", err)
	}
}

func one(change *configpb.Change) *configpb.SetRequest {
	return &configpb.SetRequest{Changes: []*configpb.Change{change}}
}

func TestBadQuestionsAreRefused(t *testing.T) {
	_, _, client := start(t)
	for word, req := range map[string]*configpb.GetRequest{
		"exclude":       {Scope: web, Effective: true, Exact: true},
		"one app":       {Effective: true},
		"variable name": {Name: "a b"},
		"app name":      {Scope: &configpb.Scope{Project: "shop", App: "a b"}},
	} {
		_, err := client.Get(t.Context(), req)
		mustBe(t, err, errs.Invalid, word)
	}
}

func TestValueThatCannotBeOpenedIsAnInternalError(t *testing.T) {
	f, _, client := start(t)
	f.Do(&commandpb.Command_ConfigSet{ConfigSet: &commandpb.ConfigSet{Changes: []*configpb.Change{
		{Scope: web, Name: "A", Sealed: []byte("damaged"), Origin: configpb.Origin_ORIGIN_SET},
	}}})
	_, err := client.Get(t.Context(), &configpb.GetRequest{Scope: web})
	mustBe(t, err, errs.Internal, "log of node")
}
