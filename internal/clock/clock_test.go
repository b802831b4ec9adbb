//go:build !clockjump

package clock

import (
	"testing"
	"time"
)

func TestTheClockIsTheMachines(t *testing.T) {
	t.Setenv("WAYPOINT_TEST_CLOCK", "/nowhere") // nothing is read
	before := time.Now()
	now := Now()
	if now.Before(before) || time.Since(now) > time.Minute {
		t.Errorf("it is %v, not %v", now, before)
	}
}
