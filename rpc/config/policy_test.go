package config_test

import (
	"cmp"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"waypoint/api/configpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/rpc/rpctest"
)

const (
	restart   = configpb.Reload_RELOAD_RESTART
	signal    = configpb.Reload_RELOAD_SIGNAL
	nextStart = configpb.Reload_RELOAD_NEXT_START
)

// policyOf returns an app's policy as it applies and as it was set.
func policyOf(t *testing.T, client configpb.ConfigClient) (policy, set *configpb.Policy) {
	t.Helper()
	answer, err := client.GetPolicy(t.Context(), &configpb.GetPolicyRequest{Project: "shop", App: "web"})
	if err != nil {
		t.Fatal(err)
	}
	return answer.GetPolicy(), answer.GetSet()
}

func TestPolicyIsAnsweredWithDefaultsFilledIn(t *testing.T) {
	f, _, client := start(t)
	if got, set := policyOf(t, client); !proto.Equal(got, &configpb.Policy{Reload: restart, MaxUnavailable: "25%"}) || !proto.Equal(set, &configpb.Policy{}) {
		t.Errorf("without one: %v, set was %v", got, set)
	}
	for _, c := range []struct{ set, stored, want *configpb.Policy }{
		{&configpb.Policy{Reload: signal, Signal: "sighup"}, &configpb.Policy{Reload: signal, Signal: "HUP"},
			&configpb.Policy{Reload: signal, Signal: "HUP", MaxUnavailable: "25%"}},
		{&configpb.Policy{Reload: signal, Signal: "SIGRTMIN+1", MaxUnavailable: "1"}, &configpb.Policy{Reload: signal, Signal: "RTMIN+1", MaxUnavailable: "1"},
			&configpb.Policy{Reload: signal, Signal: "RTMIN+1", MaxUnavailable: "1"}},
		{&configpb.Policy{Reload: signal, Signal: "10"}, &configpb.Policy{Reload: signal, Signal: "10"},
			&configpb.Policy{Reload: signal, Signal: "10", MaxUnavailable: "25%"}},
		{&configpb.Policy{Reload: nextStart, MaxUnavailable: "100%"}, &configpb.Policy{Reload: nextStart, MaxUnavailable: "100%"},
			&configpb.Policy{Reload: nextStart, MaxUnavailable: "100%"}},
		{&configpb.Policy{MaxUnavailable: "7"}, &configpb.Policy{MaxUnavailable: "7"}, &configpb.Policy{Reload: restart, MaxUnavailable: "7"}},
		{nil, nil, &configpb.Policy{Reload: restart, MaxUnavailable: "25%"}},
	} {
		answer, err := client.SetPolicy(t.Context(), &configpb.SetPolicyRequest{Project: "shop", App: "web", Policy: c.set})
		if err != nil || !proto.Equal(answer.GetPolicy(), c.want) {
			t.Errorf("%v: answered %v %v, want %v", c.set, answer, err, c.want)
		}
		got, set := policyOf(t, client)
		if !proto.Equal(got, c.want) {
			t.Errorf("%v: afterwards %v, want %v", c.set, got, c.want)
		}
		if stored := cmp.Or(c.stored, &configpb.Policy{}); !proto.Equal(set, stored) {
			t.Errorf("%v: set is %v, want %v", c.set, set, stored)
		}
		if got := f.Store.Read().ConfigPolicy("shop", "web"); !proto.Equal(got, c.stored) {
			t.Errorf("%v: the state has %v, want %v", c.set, got, c.stored)
		}
	}
}

func TestRetryOfSetPolicyIsDoneOnce(t *testing.T) {
	f, _, client := start(t)
	ctx := rpctest.WithRequestID(t.Context(), ids.New())
	req := &configpb.SetPolicyRequest{Project: "shop", App: "web", Policy: &configpb.Policy{Reload: nextStart}}
	if _, err := client.SetPolicy(ctx, req); err != nil {
		t.Fatal(err)
	}
	version := f.Store.Read().Project("shop").GetVersion()
	if _, err := client.SetPolicy(ctx, req); err != nil {
		t.Fatal(err)
	}
	if got := f.Store.Read().Project("shop").GetVersion(); got != version {
		t.Errorf("the project is at version %d, was at %d", got, version)
	}
}

func TestBadPoliciesAreRefused(t *testing.T) {
	_, _, client := start(t)
	for name, c := range map[string]struct {
		policy *configpb.Policy
		word   string
	}{
		"no signal":             {&configpb.Policy{Reload: signal}, "needs a signal"},
		"unknown signal":        {&configpb.Policy{Reload: signal, Signal: "RELOAD"}, "not known"},
		"signal 0":              {&configpb.Policy{Reload: signal, Signal: "0"}, "not known"},
		"signal 65":             {&configpb.Policy{Reload: signal, Signal: "65"}, "not known"},
		"KILL":                  {&configpb.Policy{Reload: signal, Signal: "KILL"}, "ends or stops"},
		"SIGSTOP":               {&configpb.Policy{Reload: signal, Signal: "sigstop"}, "ends or stops"},
		"9":                     {&configpb.Policy{Reload: signal, Signal: "9"}, "ends or stops"},
		"signal and restart":    {&configpb.Policy{Reload: restart, Signal: "HUP"}, "not reloaded by a signal"},
		"signal and default":    {&configpb.Policy{Signal: "HUP"}, "not reloaded by a signal"},
		"signal and next start": {&configpb.Policy{Reload: nextStart, Signal: "HUP"}, "not reloaded by a signal"},
		"unknown reload":        {&configpb.Policy{Reload: 9}, "unknown reload"},
		"none":                  {&configpb.Policy{MaxUnavailable: "0"}, "max_unavailable"},
		"more than all":         {&configpb.Policy{MaxUnavailable: "101%"}, "max_unavailable"},
		"half":                  {&configpb.Policy{MaxUnavailable: "half"}, "max_unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.SetPolicy(t.Context(), &configpb.SetPolicyRequest{Project: "shop", App: "web", Policy: c.policy})
			mustBe(t, err, errs.Invalid, c.word)
		})
	}
	if got, _ := policyOf(t, client); got.GetReload() != restart {
		t.Errorf("a refused policy left %v", got)
	}
}

func TestPolicyIsOfAnAppThatThereIs(t *testing.T) {
	_, _, client := start(t)
	for _, c := range []struct {
		project, app string
		kind         errs.Kind
		word         string
	}{
		{"", "web", errs.Invalid, "project name"}, {"shop", "", errs.Invalid, "app name"}, {"shop", "a b", errs.Invalid, "app name"},
		{"none", "web", errs.NotFound, `no project "none"`}, {"shop", "none", errs.NotFound, `no app "none"`},
	} {
		_, err := client.SetPolicy(t.Context(), &configpb.SetPolicyRequest{Project: c.project, App: c.app})
		mustBe(t, err, c.kind, c.word)
		_, err = client.GetPolicy(t.Context(), &configpb.GetPolicyRequest{Project: c.project, App: c.app})
		mustBe(t, err, c.kind, c.word)
	}
	if got, _ := policyOf(t, client); strings.Contains(got.String(), "signal:") {
		t.Error("the default policy has a signal")
	}
}
