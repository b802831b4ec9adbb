package fsm_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"waypoint/api/authpb"
	"waypoint/api/clusterpb"
	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/state"
)

func buildCommand(m *machine, id string) *commandpb.Command {
	return m.by(userToken, &commandpb.BuildCreate{Build: &deploymentpb.Build{Id: id, App: shopRef()}})
}

func TestARetryMeetsItsFirstResult(t *testing.T) {
	m := newShop(t)
	command := buildCommand(m, "b1")
	first := m.apply(command)[0]
	m.ok(first, "b1")
	m.pass(time.Minute)
	again := m.apply(command)[0]
	if again.GetIndex() != m.index {
		t.Errorf("the retry's index is %d, not that of its entry", again.GetIndex())
	}
	again.Index = first.GetIndex()
	if !proto.Equal(first, again) {
		t.Errorf("the first result was %v, the retry's is %v", first, again)
	}
	if n := len(m.store.Read().Builds(nil, 0)); n != 1 {
		t.Errorf("there are %d builds", n)
	}
}

func TestARetryWithinTheSameEntryIsOneRequest(t *testing.T) {
	m := newShop(t)
	command := buildCommand(m, "b1")
	results := m.apply(command, buildCommand(m, "b2"), command)
	if results[0].GetSequence() != 1 || results[1].GetSequence() != 2 || results[2].GetSequence() != 1 {
		t.Errorf("results are %v", results)
	}
}

func TestARefusalIsRememberedToo(t *testing.T) {
	m := newMachine(t)
	command := m.by(userToken, &commandpb.BuildCreate{Build: &deploymentpb.Build{Id: "b1", App: shopRef()}})
	m.refused(errs.NotFound, m.apply(command)[0])
	m.ok(m.do(&commandpb.ProjectApply{Name: "shop", Apps: []string{"web"}}))
	m.refused(errs.NotFound, m.apply(command)[0])
	m.ok(m.apply(buildCommand(m, "b1"))[0])
}

func TestTheSameIdForAnotherRequestIsRefused(t *testing.T) {
	m := newShop(t)
	one, two := buildCommand(m, "b1"), buildCommand(m, "b2")
	two.RequestId = one.RequestId
	m.ok(m.apply(one)[0])
	m.refused(errs.Conflict, m.apply(two)[0])
	if m.store.Read().Build("b2") != nil {
		t.Error("the refused request was carried out")
	}
	two.RequestId += "/1"
	m.ok(m.apply(two)[0])
}

func TestRequestIdsOfDifferentTokensAreDifferent(t *testing.T) {
	m := newShop(t)
	one := buildCommand(m, "b1")
	two := m.by(node1, &commandpb.BuildCreate{Build: &deploymentpb.Build{Id: "b2", App: shopRef()}})
	two.RequestId = one.RequestId
	m.ok(m.apply(one)[0])
	m.ok(m.apply(two)[0], "b2")
}

func TestRequestsOutsideTheWindow(t *testing.T) {
	for _, c := range []struct {
		name string
		age  time.Duration
		want errs.Kind
	}{
		{"just within", state.RequestWindow, 0},
		{"too old", state.RequestWindow + time.Millisecond, errs.OutcomeUnknown},
		{"a little ahead", -state.RequestWindow, 0},
		{"far ahead", -state.RequestWindow - time.Millisecond, errs.Invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newShop(t)
			command := buildCommand(m, "b1")
			command.RequestId = ids.At(m.now.Add(-c.age))
			result := m.apply(command)[0]
			if got := result.GetError().GetKind(); got != c.want {
				t.Errorf("result is %v", result)
			}
		})
	}
}

func TestARequestIsRememberedForAsLongAsItsIdIsAccepted(t *testing.T) {
	m := newShop(t)
	command := buildCommand(m, "b1")
	command.RequestId = ids.At(m.now.Add(state.RequestWindow)) // a client whose clock is ahead
	m.ok(m.apply(command)[0])
	m.pass(2 * state.RequestWindow)
	if again := m.apply(command)[0]; again.GetSequence() != 1 || again.GetError() != nil {
		t.Errorf("at the end of its window the retry gives %v", again)
	}
	m.pass(time.Millisecond)
	m.refused(errs.OutcomeUnknown, m.apply(command)[0])
	if m.store.Read().Request(userToken, command.GetRequestId()) != nil {
		t.Error("the request is still remembered")
	}
}

func TestRequestsAreRememberedAcrossARestore(t *testing.T) {
	m := newShop(t)
	command := buildCommand(m, "b1")
	first := m.apply(command)[0]
	other := emptyMachine(t)
	m.restoreTo(other)
	again := other.apply(command)[0]
	again.Index = first.GetIndex()
	if !proto.Equal(first, again) {
		t.Errorf("the first result was %v, the retry's is %v", first, again)
	}
}

func TestCommandsWithoutARequestId(t *testing.T) {
	m := newShop(t)
	command := buildCommand(m, "b1")
	command.RequestId = ""
	m.refused(errs.Invalid, m.apply(command)[0])
	command.RequestId = "nonsense"
	m.refused(errs.Invalid, m.apply(command)[0])
	m.unchanged(m.lead(&commandpb.Noop{}))
}

func TestCallersThatAreNotKnown(t *testing.T) {
	m := newShop(t)
	expiry := m.now.Add(time.Minute)
	m.deployed("d1")
	m.ok(m.do(&commandpb.TokenCreate{Token: &authpb.Token{Id: "brief", Kind: authpb.TokenKind_TOKEN_KIND_USER, ExpiresAt: m.stampAt(expiry)}}))
	m.ok(m.do(&commandpb.TokenCreate{Token: &authpb.Token{Id: "revoked", Kind: authpb.TokenKind_TOKEN_KIND_USER}}))
	m.ok(m.do(&commandpb.TokenCreate{Token: &authpb.Token{Id: "join", Kind: authpb.TokenKind_TOKEN_KIND_JOIN}}))
	m.ok(m.do(&commandpb.TokenRevoke{Id: "revoked"}))
	m.ok(m.as("brief", &commandpb.ProjectApply{Name: "x"}))
	m.pass(time.Minute)
	for token, want := range map[string]errs.Kind{
		"":          errs.Unauthenticated,
		"unknown":   errs.Unauthenticated,
		"revoked":   errs.Unauthenticated,
		"brief":     errs.Unauthenticated,
		"join":      errs.Unauthenticated,
		"node:none": errs.Unauthenticated,
		"t-d1":      errs.PermissionDenied,
	} {
		command := m.by(token, &commandpb.ProjectApply{Name: "y"})
		m.refused(want, m.apply(command)[0])
		if m.store.Read().Request(token, command.GetRequestId()) != nil {
			t.Errorf("the refusal of %q is remembered", token)
		}
	}
	for _, token := range []string{userToken, node1} {
		m.ok(m.as(token, &commandpb.ProjectApply{Name: "by " + token}))
	}
}

func TestARemovedNodeIsRefused(t *testing.T) {
	m := newMachine(t)
	m.ok(m.do(&commandpb.NodeRemove{Id: "n1"}), "n1")
	m.refused(errs.Unauthenticated, m.as(node1, &commandpb.NodeUpsert{Node: &clusterpb.Node{Id: "n1", Name: "one"}}))
	m.unchanged(m.do(&commandpb.NodeRemove{Id: "n1"}))
}

func TestCommandsOfAnotherTermAreStale(t *testing.T) {
	m := newMachine(t)
	command := m.by("", &commandpb.NodeVersionRaise{Version: 2})
	command.Term = term - 1
	m.refused(errs.StaleAttempt, m.apply(command)[0])
	command.Term = term
	m.ok(m.apply(command)[0])
}

func TestOnlyTheLeaderDoesItsTasks(t *testing.T) {
	m := newShop(t)
	for _, kind := range []proto.Message{
		&commandpb.NodeVersionRaise{Version: 2}, &commandpb.JobAssign{}, &commandpb.JobExpire{}, &commandpb.Prune{Max: 1},
	} {
		m.refused(errs.PermissionDenied, m.do(kind))
	}
}
