package entrypoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// accounts are the files that name users and groups.
type accounts struct{ users, groups string }

func systemAccounts() accounts { return accounts{users: "/etc/passwd", groups: "/etc/group"} }

// resolve is the numbers of an owner: "user", "user:group" or ":group", by
// name or number. What is not named is -1, which leaves it as it is.
func (a accounts) resolve(owner string) (uid, gid int, err error) {
	user, group, _ := strings.Cut(owner, ":")
	if uid, err = numberOf(a.users, user); err != nil {
		return -1, -1, fmt.Errorf("user %q: %w", user, err)
	}
	if gid, err = numberOf(a.groups, group); err != nil {
		return -1, -1, fmt.Errorf("group %q: %w", group, err)
	}
	return uid, gid, nil
}

// numberOf looks a name up in a file whose lines begin with name:password:number.
func numberOf(path, name string) (int, error) {
	if name == "" {
		return -1, nil
	}
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(n), nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return -1, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 4)
		if len(fields) < 3 || fields[0] != name {
			continue
		}
		if n, err := strconv.ParseUint(fields[2], 10, 31); err == nil {
			return int(n), nil
		}
	}
	return -1, fmt.Errorf("not in %s", path)
}
