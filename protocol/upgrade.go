package protocol

import (
	"fmt"
	"strconv"
	"strings"

	"waypoint/api/versionpb"
	"waypoint/errs"
	"waypoint/version"
)

// PartKind is a sort of component that talks to servers.
type PartKind string

// The kinds of parts.
const (
	PartCLI        PartKind = "cli"
	PartRunner     PartKind = "runner"
	PartEntrypoint PartKind = "entrypoint"
	PartNode       PartKind = "node"
)

// protocol returns the protocol that parts of this kind speak to servers.
func (k PartKind) protocol() string {
	switch k {
	case PartEntrypoint:
		return Entrypoint
	case PartNode:
		return Node
	default:
		return API
	}
}

// Part is a component that talks to the servers now.
type Part struct {
	Kind    PartKind
	Name    string // "runner build-1", for people
	Release string // what it runs; may be empty
	Ranges  *versionpb.Ranges
}

// Verdict says what an upgrade of the servers means for one part.
type Verdict struct {
	Part    Part
	Stays   bool   // may stay as it is
	Version uint32 // the version it would use; 0 if it may not stay
	Advice  string // for people: what to do about it and when
}

// Report says for each part, in the given order, whether it may stay when the
// servers speak target.
func Report(target *versionpb.Ranges, parts []Part) []Verdict {
	verdicts := make([]Verdict, 0, len(parts))
	for _, part := range parts {
		verdicts = append(verdicts, judge(target, part))
	}
	return verdicts
}

func judge(target *versionpb.Ranges, part Part) Verdict {
	name := part.Kind.protocol()
	wanted, spoken := Of(target, name), Of(part.Ranges, name)
	common, ok := highestCommon(wanted, spoken)
	v := Verdict{Part: part, Stays: ok}
	if ok {
		v.Version = common
	}
	switch {
	case ok && spoken.GetCurrent() < wanted.GetCurrent():
		v.Advice = fmt.Sprintf("may stay: version %d of the %s protocol is common; upgrade it some day", common, name)
	case ok:
		v.Advice = fmt.Sprintf("may stay: version %d of the %s protocol is common", common, name)
	case wanted != nil && spoken.GetCurrent() < wanted.GetMin():
		v.Advice = fmt.Sprintf("must be %s before the servers are upgraded: it speaks %s of the %s protocol, they will speak %s",
			part.Kind.renewal(), words(spoken), name, words(wanted))
	default:
		v.Advice = fmt.Sprintf("is too new: it speaks %s of the %s protocol, the servers will speak %s; choose a newer server release",
			words(spoken), name, words(wanted))
	}
	return v
}

// renewal says how a part of this kind gets a newer release.
func (k PartKind) renewal() string {
	if k == PartEntrypoint {
		return "rebuilt and redeployed"
	}
	return "upgraded"
}

// CheckServerStep tells whether a server of release to may take over the state
// of a server of release from: the same release (patches may differ in either
// direction) or the one just before it. This is a rule for servers only, since
// they alone store state. The error is of kind Conflict and says which way
// leads there; of kind Invalid if a release is not a semantic version.
func CheckServerStep(from, to string) error {
	return checkStep(version.Releases(), from, to)
}

func checkStep(table []version.ReleaseRow, from, to string) error {
	f, err := parseRelease(from)
	if err != nil {
		return err
	}
	t, err := parseRelease(to)
	if err != nil {
		return err
	}
	if f == t || f.next(table) == t {
		return nil
	}
	if t.before(f) {
		return errs.New(errs.Conflict, "state written by release %s cannot be used by the older release %s: run %s or newer", from, to, f)
	}
	return errs.New(errs.Conflict, "release %s upgrades only from the release just before it, not from %s: upgrade to %s first", to, from, f.next(table))
}

// release is the part of a semantic version that the step rule looks at.
type release struct{ major, minor uint64 }

func (r release) String() string { return fmt.Sprintf("%d.%d", r.major, r.minor) }

func (r release) before(o release) bool {
	return r.major < o.major || r.major == o.major && r.minor < o.minor
}

// next returns the release after r: the table's, or the next minor one if the
// table ends at r or does not know it.
func (r release) next(table []version.ReleaseRow) release {
	for i := range len(table) - 1 {
		if table[i].Name != r.String() {
			continue
		}
		if n, err := parseRelease(table[i+1].Name); err == nil {
			return n
		}
	}
	return release{r.major, r.minor + 1}
}

// parseRelease reads "0.4", "0.4.1", "v0.4.1-dev" and their like.
func parseRelease(s string) (release, error) {
	text, _, _ := strings.Cut(strings.TrimPrefix(s, "v"), "-")
	text, _, _ = strings.Cut(text, "+")
	fields := strings.Split(text, ".")
	if len(fields) < 2 || len(fields) > 3 {
		return release{}, errs.New(errs.Invalid, "release %q is not a semantic version", s)
	}
	var numbers [3]uint64
	for i, field := range fields {
		n, err := strconv.ParseUint(field, 10, 31)
		if err != nil {
			return release{}, errs.New(errs.Invalid, "release %q is not a semantic version", s)
		}
		numbers[i] = n
	}
	return release{numbers[0], numbers[1]}, nil
}
