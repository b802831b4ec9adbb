package config_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"waypoint/api/authpb"
	"waypoint/api/configpb"
	"waypoint/errs"
	"waypoint/rpc/config"
)

func toFile(name, value string, file *configpb.File) *configpb.Change {
	return &configpb.Change{Scope: web, Name: name, Value: value, File: file}
}

func TestVariableGoesToAFileAndBackToTheEnvironment(t *testing.T) {
	f, server, client := start(t)
	_, runner := f.Token(authpb.TokenKind_TOKEN_KIND_RUNNER, "builder")
	for _, c := range []struct{ set, want *configpb.File }{
		{&configpb.File{Path: "/etc/app/key.pem"}, &configpb.File{Path: "/etc/app/key.pem", Mode: 0o600}},
		{&configpb.File{Path: "/k", Mode: 0o640, Owner: "app:app"}, &configpb.File{Path: "/k", Mode: 0o640, Owner: "app:app"}},
		{nil, nil},
	} {
		answer, err := client.Set(t.Context(), one(toFile("KEY", "secret", c.set)))
		if err != nil {
			t.Fatal(err)
		}
		if v := answer.GetVariables()[0]; !proto.Equal(v.GetFile(), c.want) || v.GetValue() != "" {
			t.Errorf("set answered %v, want the file %v", v, c.want)
		}
		got, err := client.Get(t.Context(), &configpb.GetRequest{Scope: web, Effective: true})
		if err != nil || len(got.GetVariables()) != 1 || !proto.Equal(got.GetVariables()[0].GetFile(), c.want) || got.GetVariables()[0].GetValue() != "secret" {
			t.Errorf("a user gets %v %v, want the file %v", got, err, c.want)
		}
		got, err = configpb.NewConfigClient(server.Dial(runner)).Get(t.Context(), &configpb.GetRequest{Scope: web})
		if err != nil || len(got.GetVariables()) != 1 || !proto.Equal(got.GetVariables()[0].GetFile(), c.want) || got.GetVariables()[0].GetValue() != "" {
			t.Errorf("a runner gets %v %v, want the file %v", got, err, c.want)
		}
	}
}

func TestFilesMayHoldAnyText(t *testing.T) {
	_, _, client := start(t)
	for _, content := range []string{"", "a\x00b", "line\r\nline\n", strings.Repeat("x", config.MaxValue)} {
		if _, err := client.Set(t.Context(), one(toFile("K", content, &configpb.File{Path: "/k"}))); err != nil {
			t.Fatalf("%.20q: %v", content, err)
		}
		got, err := client.Get(t.Context(), &configpb.GetRequest{Scope: web})
		if err != nil || got.GetVariables()[0].GetValue() != content {
			t.Errorf("%.20q became %v %v", content, got, err)
		}
	}
	_, err := client.Set(t.Context(), one(toFile("K", strings.Repeat("x", config.MaxValue+1), &configpb.File{Path: "/k"})))
	mustBe(t, err, errs.Exhausted, "65536")
}

func TestGoodFilesAreTaken(t *testing.T) {
	_, _, client := start(t)
	for _, file := range []*configpb.File{
		{Path: "/a"}, {Path: "/etc/app/..data/x"}, {Path: "/with space/ü.conf"}, {Path: "/" + strings.Repeat("x", 4095)},
		{Path: "/a", Mode: 0o777}, {Path: "/a", Mode: 0o400},
		{Path: "/a", Owner: "app"}, {Path: "/a", Owner: "1000:2147483647"}, {Path: "/a", Owner: ":www-data"}, {Path: "/a", Owner: "_app.x:0"},
	} {
		if _, err := client.Set(t.Context(), one(toFile("K", "x", file))); err != nil {
			t.Errorf("%.60v: %v", file, err)
		}
	}
}

func TestBadFilesAreRefused(t *testing.T) {
	_, _, client := start(t)
	for name, c := range map[string]struct {
		file *configpb.File
		word string
	}{
		"no path":         {&configpb.File{}, "without a path"},
		"relative":        {&configpb.File{Path: "etc/app"}, "not absolute"},
		"dot":             {&configpb.File{Path: "./app"}, "not absolute"},
		"dots":            {&configpb.File{Path: "/etc/../app"}, `as "/app"`},
		"dots at the end": {&configpb.File{Path: "/etc/.."}, "not clean"},
		"dots above":      {&configpb.File{Path: "/../etc"}, "not clean"},
		"double slash":    {&configpb.File{Path: "//etc"}, "not clean"},
		"slash at end":    {&configpb.File{Path: "/etc/"}, "not clean"},
		"root":            {&configpb.File{Path: "/"}, "root folder"},
		"NUL":             {&configpb.File{Path: "/a\x00b"}, "control character"},
		"line break":      {&configpb.File{Path: "/a\nb"}, "control character"},
		"too long":        {&configpb.File{Path: "/" + strings.Repeat("x", 4096)}, "4096"},
		"set-user-id":     {&configpb.File{Path: "/a", Mode: 0o4755}, "04755"},
		"decimal mode":    {&configpb.File{Path: "/a", Mode: 640}, "permission bits"},
		"owner alone":     {&configpb.File{Path: "/a", Owner: ":"}, "owner"},
		"no group":        {&configpb.File{Path: "/a", Owner: "app:"}, "owner"},
		"three parts":     {&configpb.File{Path: "/a", Owner: "a:b:c"}, "owner"},
		"option":          {&configpb.File{Path: "/a", Owner: "-R"}, "owner"},
		"space":           {&configpb.File{Path: "/a", Owner: "a b"}, "owner"},
		"number":          {&configpb.File{Path: "/a", Owner: "2147483648"}, "owner"},
		"no change":       {&configpb.File{Path: "/a", Owner: "0:4294967295"}, "owner"},
		"long owner":      {&configpb.File{Path: "/a", Owner: strings.Repeat("a", 257)}, "owner"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.Set(t.Context(), one(toFile("K", "x", c.file)))
			mustBe(t, err, errs.Invalid, c.word)
			mustBe(t, err, errs.Invalid, "variable K")
		})
	}
	_, err := client.Set(t.Context(), one(&configpb.Change{Scope: web, Name: "K", Delete: true, File: &configpb.File{Path: "/a"}}))
	mustBe(t, err, errs.Invalid, "deleted")
}

func TestPathsCountAsPartOfTheRequest(t *testing.T) {
	_, _, client := start(t)
	req := &configpb.SetRequest{}
	for i := range 100 {
		req.Changes = append(req.Changes, toFile("K"+strings.Repeat("x", i), "", &configpb.File{Path: "/" + strings.Repeat("x", 4000)}))
	}
	_, err := client.Set(t.Context(), req)
	mustBe(t, err, errs.Exhausted, "fewer")
}

func TestCollidingFilesOfOneScopeAreAConflict(t *testing.T) {
	_, _, client := start(t)
	if _, err := client.Set(t.Context(), one(toFile("A", "x", &configpb.File{Path: "/etc/app"}))); err != nil {
		t.Fatal(err)
	}
	_, err := client.Set(t.Context(), one(toFile("B", "x", &configpb.File{Path: "/etc/app"})))
	mustBe(t, err, errs.Conflict, `"A"`)
}
