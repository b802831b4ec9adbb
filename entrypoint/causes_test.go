package entrypoint

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"waypoint/errs"
	"waypoint/internal/wait"
)

func TestCausesThatDifferInWhatChangesAreOne(t *testing.T) {
	for _, same := range [][]string{
		{"read tcp 127.0.0.1:40001->10.0.0.1:9701: connection reset", "read tcp 127.0.0.1:40002->10.0.0.1:9701: connection reset"},
		{"attach: 10.0.0.1:9701 has said nothing for 41s", "attach: 10.0.0.1:9701 has said nothing for 1m2.5s"},
		{"gave up (attempt 3 of 5), error id 01JD3X7Q6ZK8W2V9B4N5M1C0TA", "gave up (attempt 4 of 5), error id 01JD3X7Q70AAAAAAAAAAAAAAA1"},
	} {
		c := make(causes)
		if !c.fresh(same[0]) || c.fresh(same[1]) || c.fresh(same[0]) {
			t.Errorf("not one cause: %q", same)
		}
	}
	c := make(causes)
	if !c.fresh("the token was revoked") || !c.fresh("the token has expired") {
		t.Error("two causes are taken for one")
	}
	for i := range 2 * maxCauses {
		c.fresh(strings.Repeat("x", i))
	}
	if len(c) != maxCauses {
		t.Errorf("%d causes are remembered", len(c))
	}
}

// Whatever a node refuses an attach with, the next one may succeed.
func TestRefusalsOfEveryKindAreRetried(t *testing.T) {
	for name, refusal := range map[string]error{
		"revoked":    errs.New(errs.Unauthenticated, "the token was revoked"),
		"not yours":  errs.New(errs.PermissionDenied, "this token is not for that"),
		"unknown":    errs.New(errs.NotFound, "this node knows no such deployment"),
		"version":    errs.New(errs.Protocol, "entrypoint protocol out of range"),
		"invalid":    errs.New(errs.Invalid, "hello is wrong"),
		"too many":   errs.New(errs.Exhausted, "too many instances"),
		"unknown to": errs.New(errs.Unimplemented, "no such method"),
		"conflict":   errs.New(errs.Conflict, "somebody else is this instance"),
		"internal":   fmt.Errorf("a defect"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := homes(t, 1)
			h[0].set(func() { h[0].refuse = refusal })
			p := start(t, options{servers: h, wait: time.Millisecond}, "sh", "-c", loyal)
			h[0].until("three tries", func() bool { return h[0].tries >= 3 })
			h[0].set(func() { h[0].refuse = nil })
			h[0].until("the attach", func() bool { return len(h[0].hellos) == 1 })
			if runs := p.runs(); len(runs) > 1 {
				t.Errorf("%q", runs)
			}
		})
	}
}

func TestReasonIsSaidOnceAndAgainAfterAnAttach(t *testing.T) {
	t.Parallel()
	h := homes(t, 1)
	refuse := func() {
		h[0].set(func() {
			h[0].refuse, h[0].tries = errs.New(errs.Unauthenticated, "the token was revoked, try %d", h[0].tries), 0
		})
	}
	refuse()
	p := start(t, options{servers: h, wait: time.Millisecond}, "sh", "-c", loyal)
	for round := range 2 {
		h[0].until("three tries", func() bool {
			h[0].refuse = errs.New(errs.Unauthenticated, "the token was revoked, try %d", h[0].tries)
			return h[0].tries >= 3
		})
		h[0].set(func() { h[0].refuse = nil })
		h[0].until("the attach", func() bool { return len(h[0].attached) == 1 })
		wait.For(t, patience, "the entrypoint to know it", func() bool {
			return strings.Count(p.err.String(), "attached to the cluster: server") == round+1
		})
		if got := strings.Count(p.err.String(), "the token was revoked"); got != round+1 {
			t.Errorf("said %d times after %d attaches", got, round+1)
		}
		refuse()
		h[0].set(func() { close(h[0].end); h[0].end = make(chan struct{}) })
	}
}
