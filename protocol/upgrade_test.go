package protocol

import (
	"strings"
	"testing"

	"waypoint/errs"
	"waypoint/version"
)

func TestServersUpgradeFromTheReleaseJustBefore(t *testing.T) {
	table := []version.ReleaseRow{{Name: "0.9"}, {Name: "0.10"}, {Name: "1.0"}, {Name: "1.1"}}
	tests := []struct {
		from, to string
		refusal  string // "": allowed
	}{
		{"0.4", "0.5", ""},
		{"0.4.7", "0.5.0", ""},
		{"v0.4.0-dev", "0.5.0+build", ""},
		{"0.4.1", "0.4.9", ""},
		{"0.4.9", "0.4.1", ""},
		{"0.4", "0.6", "upgrade to 0.5 first"},
		{"0.4.2", "1.0.0", "upgrade to 0.5 first"},
		{"0.5", "0.4", "run 0.5 or newer"},
		{"1.0", "0.10", "run 1.0 or newer"},
		{"0.9", "0.10", ""},
		{"0.10.3", "1.0.0", ""}, // the table knows that 1.0 followed 0.10
		{"0.9", "1.0", "upgrade to 0.10 first"},
		{"1.1", "1.2", ""}, // beyond the table
	}
	for _, tt := range tests {
		err := checkStep(table, tt.from, tt.to)
		switch {
		case tt.refusal == "" && err != nil:
			t.Errorf("%s to %s is refused: %v", tt.from, tt.to, err)
		case tt.refusal != "" && !errs.Is(err, errs.Conflict):
			t.Errorf("%s to %s gave %v, want a Conflict", tt.from, tt.to, err)
		case tt.refusal != "" && !strings.Contains(err.Error(), tt.refusal):
			t.Errorf("%s to %s is refused with %q, want %q in it", tt.from, tt.to, err, tt.refusal)
		}
	}
}

func TestStepsBetweenUnreadableReleasesAreRefused(t *testing.T) {
	for _, bad := range []string{"", "1", "a.b", "1.2.3.4", "-1.2", "1..2"} {
		if err := CheckServerStep(bad, "0.5"); !errs.Is(err, errs.Invalid) {
			t.Errorf("from %q gave %v, want an Invalid error", bad, err)
		}
		if err := CheckServerStep("0.5", bad); !errs.Is(err, errs.Invalid) {
			t.Errorf("to %q gave %v, want an Invalid error", bad, err)
		}
	}
}

func TestThisBuildMayRestartOnItsOwnState(t *testing.T) {
	if err := CheckServerStep(version.Release, version.Release); err != nil {
		t.Error(err)
	}
}
