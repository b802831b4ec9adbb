package config

import (
	"regexp"
	"strings"

	"waypoint/api/configpb"
	"waypoint/errs"
	"waypoint/rpc/names"
)

const (
	// MaxValue is the largest value of a variable, in bytes.
	MaxValue = 64 << 10
	// maxTotal bounds the values and paths of one request, in bytes: a request is one
	// command, and large log entries hold up everybody.
	maxTotal = 256 << 10
	// maxChanges bounds the changes of one request.
	maxChanges = 512
	maxName    = 256 // bytes
)

var environmentName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

func checkSet(req *configpb.SetRequest) error {
	if len(req.GetChanges()) == 0 && req.GetReplaceFileScope() == nil {
		return errs.New(errs.Invalid, "the request changes nothing: name at least one variable to set or delete")
	}
	if len(req.GetChanges()) > maxChanges {
		return errs.New(errs.Exhausted, "%d changes at a time are too many: send at most %d with one call", len(req.GetChanges()), maxChanges)
	}
	total := 0
	seen := map[string]bool{}
	for _, change := range req.GetChanges() {
		if err := checkChange(change); err != nil {
			return err
		}
		id := string(Associated(change.GetScope(), change.GetName())) + "/" + originOf(change).String()
		if seen[id] {
			return errs.New(errs.Invalid, "variable %s is changed twice in one request: name each one once", change.GetName())
		}
		seen[id] = true
		total += len(change.GetValue()) + len(change.GetFile().GetPath())
	}
	if total > maxTotal {
		return errs.New(errs.Exhausted, "the values and paths of one call have %d bytes and may have at most %d together: set fewer variables at a time", total, maxTotal)
	}
	return checkReplace(req)
}

func checkReplace(req *configpb.SetRequest) error {
	scope := req.GetReplaceFileScope()
	if scope == nil {
		return nil
	}
	if err := checkScope(scope); err != nil {
		return err
	}
	if scope.GetApp() == "" {
		return errs.New(errs.Invalid, "only an app's variables come from a project file: name project and app in replace_file_scope")
	}
	return nil
}

func checkChange(change *configpb.Change) error {
	if err := checkName(change.GetName()); err != nil {
		return err
	}
	if err := checkScope(change.GetScope()); err != nil {
		return err
	}
	if len(change.GetSealed()) > 0 {
		return errs.New(errs.Invalid, "variable %s carries a sealed value: send the value itself, the server seals it", change.GetName())
	}
	switch originOf(change) {
	case configpb.Origin_ORIGIN_SET:
	case configpb.Origin_ORIGIN_FILE:
		if change.GetScope().GetApp() == "" {
			return errs.New(errs.Invalid, "variable %s comes from a project file but is not for an app: name project and app", change.GetName())
		}
	default:
		return errs.New(errs.Invalid, "variable %s has the unknown origin %d: use a client of the server's release", change.GetName(), change.GetOrigin())
	}
	return checkValue(change)
}

func checkValue(change *configpb.Change) error {
	value := change.GetValue()
	switch {
	case change.GetDelete() && value != "":
		return errs.New(errs.Invalid, "variable %s is deleted and set at once: do one of them", change.GetName())
	case len(value) > MaxValue:
		return errs.New(errs.Exhausted, "the value of variable %s has %d bytes and may have at most %d: keep large data in a file or store and set its name",
			change.GetName(), len(value), MaxValue)
	case change.GetFile() == nil && strings.ContainsRune(value, 0):
		return errs.New(errs.Invalid, "the value of variable %s holds a NUL byte, which no environment variable can: "+
			"encode it, for example with base64, or let it go to a file", change.GetName())
	case change.GetDelete() && change.GetFile() != nil:
		return errs.New(errs.Invalid, "variable %s is deleted and sent to a file at once: do one of them", change.GetName())
	case change.GetFile() != nil:
		return checkFile(change.GetName(), change.GetFile())
	}
	return nil
}

func checkName(name string) error {
	if len(name) > maxName || !environmentName.MatchString(name) {
		return errs.New(errs.Invalid,
			"variable name %q is not allowed: begin with a letter or \"_\" and use at most %d letters, digits and \"_\"", names.Short(name), maxName)
	}
	return nil
}

func checkScope(scope *configpb.Scope) error {
	if scope.GetApp() != "" && scope.GetProject() == "" {
		return errs.New(errs.Invalid, "app %s is named without its project: name the project too", names.Short(scope.GetApp()))
	}
	if err := names.Optional("project", scope.GetProject()); err != nil {
		return err
	}
	if err := names.Optional("app", scope.GetApp()); err != nil {
		return err
	}
	return names.Optional("workspace", scope.GetWorkspace())
}
