// Package names holds the rules for the names and texts that callers choose. It
// knows no service and no state.
package names

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"waypoint/api/deploymentpb"
	"waypoint/errs"
)

// DefaultWorkspace is the workspace of an app reference that names none.
const DefaultWorkspace = "default"

var rule = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$`)

// Check returns an error of KIND_INVALID unless value is a good name of a
// project, app, workspace or the like. What says what it names: "project".
func Check(what, value string) error {
	if value == "" {
		return errs.New(errs.Invalid, "%s name is empty: give one", what)
	}
	if !rule.MatchString(value) {
		return errs.New(errs.Invalid,
			"%s name %q is not allowed: begin with a letter or digit and use at most 64 letters, digits, \"_\", \".\" and \"-\"",
			what, Short(value))
	}
	return nil
}

// Optional is Check for a name that may be left out.
func Optional(what, value string) error {
	if value == "" {
		return nil
	}
	return Check(what, value)
}

// Ref checks the reference of an app that is written to and returns it with
// the default workspace filled in. ref itself stays as it is.
func Ref(ref *deploymentpb.AppRef) (*deploymentpb.AppRef, error) {
	full := &deploymentpb.AppRef{
		Project:   ref.GetProject(),
		App:       ref.GetApp(),
		Workspace: ref.GetWorkspace(),
	}
	if full.Workspace == "" {
		full.Workspace = DefaultWorkspace
	}
	if err := Check("project", full.Project); err != nil {
		return nil, err
	}
	if err := Check("app", full.App); err != nil {
		return nil, err
	}
	if err := Check("workspace", full.Workspace); err != nil {
		return nil, err
	}
	return full, nil
}

// Filter checks a reference in which empty fields match everything, and never
// returns nil without an error.
func Filter(ref *deploymentpb.AppRef) (*deploymentpb.AppRef, error) {
	if err := Optional("project", ref.GetProject()); err != nil {
		return nil, err
	}
	if err := Optional("app", ref.GetApp()); err != nil {
		return nil, err
	}
	if err := Optional("workspace", ref.GetWorkspace()); err != nil {
		return nil, err
	}
	return &deploymentpb.AppRef{
		Project:   ref.GetProject(),
		App:       ref.GetApp(),
		Workspace: ref.GetWorkspace(),
	}, nil
}

// Text returns an error of KIND_INVALID if a text is longer than most bytes or
// holds control characters other than newline and tab.
func Text(what, value string, most int) error {
	if len(value) > most {
		return errs.New(errs.Invalid, "%s is %d bytes long and may have at most %d: shorten it", what, len(value), most)
	}
	for _, r := range value {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return errs.New(errs.Invalid, "%s holds the control character %U: remove it", what, r)
		}
	}
	return nil
}

// Truncate returns at most most bytes of text, cut between characters and
// marked with an ellipsis. It serves texts that must not be refused, such as the
// reason of a failure.
func Truncate(text string, most int) string {
	const mark = "..."
	if len(text) <= most {
		return text
	}
	cut := most - len(mark)
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + mark
}

// Short returns a caller's text short enough to repeat it in an error.
func Short(text string) string {
	return Truncate(strings.ToValidUTF8(text, "?"), 80)
}
