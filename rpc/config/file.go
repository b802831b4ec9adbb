package config

import (
	"path"
	"regexp"
	"strconv"
	"strings"

	"waypoint/api/configpb"
	"waypoint/errs"
	"waypoint/rpc/names"
)

const (
	defaultMode = 0o600
	maxMode     = 0o777 // permission bits only: no set-user-id and the like
	maxPath     = 4096  // bytes
	maxOwner    = 256   // bytes
)

// fileOwner is "user", "user:group" or ":group", each a name or a number.
var fileOwner = regexp.MustCompile(`^([a-zA-Z0-9_][a-zA-Z0-9_.-]*)?(?::([a-zA-Z0-9_][a-zA-Z0-9_.-]*))?$`)

// checkFile checks where a variable is to go. Whether the instance can write
// there is for the instance to say.
func checkFile(name string, file *configpb.File) error {
	at := file.GetPath()
	switch {
	case at == "":
		return errs.New(errs.Invalid, "variable %s goes to a file without a path: give an absolute one, such as /etc/app/app.conf", name)
	case len(at) > maxPath:
		return errs.New(errs.Invalid, "the path of variable %s has %d bytes and may have at most %d: choose a shorter one", name, len(at), maxPath)
	case strings.ContainsFunc(at, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errs.New(errs.Invalid, "the path %q of variable %s holds a control character: choose one without", names.Short(at), name)
	case !strings.HasPrefix(at, "/"):
		return errs.New(errs.Invalid, "the path %q of variable %s is not absolute: begin it with \"/\"", names.Short(at), name)
	case path.Clean(at) != at:
		return errs.New(errs.Invalid, "the path %q of variable %s is not clean: write it without \"..\", \".\", double \"/\" and \"/\" at its end, as %q",
			names.Short(at), name, names.Short(path.Clean(at)))
	case at == "/":
		return errs.New(errs.Invalid, "the path of variable %s is the root folder: name a file", name)
	case file.GetMode() > maxMode:
		return errs.New(errs.Invalid, "the mode %#o of variable %s has more than permission bits: use at most 0777, for example 0640", file.GetMode(), name)
	}
	return checkOwner(name, file.GetOwner())
}

func checkOwner(name, owner string) error {
	if owner == "" {
		return nil
	}
	parts := fileOwner.FindStringSubmatch(owner)
	if parts == nil || len(owner) > maxOwner || !validID(parts[1]) || !validID(parts[2]) {
		return errs.New(errs.Invalid, "the owner %q of variable %s is not allowed: write user, user:group or :group, each as a name or a number",
			names.Short(owner), name)
	}
	return nil
}

// validID tells whether a user or group, if it is a number, is one that the
// entrypoint can give a file to.
func validID(id string) bool {
	if strings.Trim(id, "0123456789") != "" || id == "" {
		return true
	}
	_, err := strconv.ParseUint(id, 10, 31)
	return err == nil
}
