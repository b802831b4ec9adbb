package config

import (
	"slices"
	"strings"
	"testing"

	"waypoint/errs"
)

func TestAnOutlineNeedsNoValues(t *testing.T) {
	path := write(t, `
project = "shop"
variable "tag" {}
variable "copies" { default = 2 }
app "web" {
  deploy {
    use "local" { command = [var.tag, var.unknown] }
  }
}
app "worker" {}
`)
	got, err := LoadOutline(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "shop" || got.Path != path || !slices.Equal(got.Apps, []string{"web", "worker"}) || !slices.Equal(got.Required, []string{"tag"}) {
		t.Errorf("got %+v", got)
	}
	if !got.Has("web") || got.Has("other") {
		t.Error("it does not know its apps")
	}
}

func TestAnOutlineSaysWhereTheFileIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"project = \"a b\"":                           "waypoint.hcl:1,11: Invalid name",
		"app \"web\" {}":                              "Missing required argument",
		"project = \"a\"\napp \"-\" {}":               "waypoint.hcl:2,9: Invalid name",
		"project = \"a\"\napp \"x\" {}\napp \"x\" {}": "waypoint.hcl:3,9: Duplicate app",
		"project = \"a\"\nnonsense = 1":               "waypoint.hcl:2,1: Unsupported argument",
		"project = ":                                  "waypoint.hcl:1,11: Missing expression",
	} {
		_, err := LoadOutline(write(t, text))
		if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if _, err := LoadOutline("/nowhere/waypoint.hcl"); !errs.Is(err, errs.NotFound) {
		t.Errorf("no file: %v", err)
	}
}
