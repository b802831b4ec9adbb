package entrypoint

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"waypoint/api/entrypointpb"
)

// environment is what a child gets: the container's environment with the
// configuration over it. Where both name a variable, the configuration wins,
// so that "config set" can change what an image has fixed. Variables that no
// process could get are left out and named in bad.
func environment(base []string, vars []*entrypointpb.EnvVar) (env, bad []string) {
	set := make(map[string]string, len(vars))
	for _, v := range vars {
		name := v.GetName()
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(v.GetValue(), 0) {
			bad = append(bad, name)
			continue
		}
		set[name] = v.GetValue()
	}
	for _, kv := range base {
		name, _, _ := strings.Cut(kv, "=")
		if _, ok := set[name]; !ok {
			env = append(env, kv)
		}
	}
	names := make([]string, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		env = append(env, name+"="+set[name])
	}
	return env, bad
}

// lookPath finds a command as a shell with this environment would.
func lookPath(env []string, command string) (string, error) {
	if strings.Contains(command, "/") {
		return command, nil
	}
	path := lookup(env, "PATH")
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	found := error(os.ErrNotExist)
	for _, dir := range filepath.SplitList(path) {
		candidate := filepath.Join(dir, command)
		if !filepath.IsAbs(candidate) {
			candidate = "./" + candidate
		}
		info, err := os.Stat(candidate)
		switch {
		case err != nil || info.IsDir():
		case info.Mode()&0o111 == 0:
			found = os.ErrPermission
		default:
			return candidate, nil
		}
	}
	return "", &os.PathError{Op: "look up", Path: command, Err: found}
}
