package names_test

import (
	"strings"
	"testing"

	"waypoint/api/deploymentpb"
	"waypoint/errs"
	"waypoint/rpc/names"
)

func TestNames(t *testing.T) {
	for name, good := range map[string]bool{
		"a": true, "A9_.-": true, "0": true, strings.Repeat("x", 64): true,
		"": false, ".": false, "-a": false, "_a": false, "a/b": false, "a b": false, "a\n": false, "é": false, strings.Repeat("x", 65): false,
	} {
		if err := names.Check("thing", name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		} else if err != nil && (!errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "thing")) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if names.Optional("thing", "") != nil || names.Optional("thing", "a b") == nil {
		t.Error("optional names")
	}
}

func TestRefsOfWritesAreWhole(t *testing.T) {
	given := &deploymentpb.AppRef{Project: "p", App: "a"}
	if ref, err := names.Ref(given); err != nil || ref.GetWorkspace() != "default" || given.GetWorkspace() != "" {
		t.Errorf("%v %v, given %v", ref, err, given)
	}
	for _, bad := range []*deploymentpb.AppRef{nil, {App: "a"}, {Project: "p"}, {Project: "p", App: "a", Workspace: "w w"}} {
		if ref, err := names.Ref(bad); err == nil || ref != nil {
			t.Errorf("%v became %v, %v", bad, ref, err)
		}
	}
	if ref, err := names.Filter(nil); err != nil || ref == nil {
		t.Errorf("empty filter: %v %v", ref, err)
	}
}

func TestTruncateCutsBetweenCharacters(t *testing.T) {
	for text, want := range map[string]string{"short": "short", "éééééé": "éé...", "0123456789": "01234..."} {
		if got := names.Truncate(text, 8); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}
