package fsm_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/commandpb"
	"waypoint/api/execpb"
	"waypoint/errs"
)

const node2 = "node:n2"

func (m *machine) execStart(node, id string) *commandpb.Result {
	m.Helper()
	return m.as(node, &commandpb.ExecStart{Session: m.execSession(id)})
}

func (m *machine) execResume(node, id string) *commandpb.Result {
	m.Helper()
	return m.as(node, &commandpb.ExecStart{Session: m.execSession(id), Resumed: true})
}

func (m *machine) execSession(id string) *execpb.Session {
	return &execpb.Session{
		Id: id, App: shopRef(), InstanceId: "i1", NodeBoot: "boot1", TokenId: "alice", Argv: []string{"sh"},
		StartedAt: timestamppb.New(m.now.Add(-time.Minute)),
	}
}

func (m *machine) execEnd(node, id string, exit *execpb.Exit, failure string) *commandpb.Result {
	m.Helper()
	return m.as(node, &commandpb.ExecEnd{Id: id, EndedAt: m.stamp(), Exit: exit, Error: failure})
}

// newExecs has two nodes and an attached instance i1.
func newExecs(t *testing.T) *machine {
	m := newShop(t)
	m.joined("n2", "two")
	m.deployed("d1")
	m.ok(m.attached("i1", "d1", 1))
	return m
}

func TestExecSessionHasOneRecord(t *testing.T) {
	m := newExecs(t)
	m.ok(m.execStart(node1, "x"), "x")
	m.unchanged(m.execStart(node1, "x"), "x")
	row := m.store.Read().ExecSession("x")
	if row.GetNodeId() != "n1" || row.GetEndedAt() != nil || !row.GetStartedAt().AsTime().Equal(m.now.Add(-time.Minute)) {
		t.Errorf("the record is %v", row)
	}
	m.pass(time.Minute)
	m.ok(m.execEnd(node1, "x", &execpb.Exit{Code: 3}, ""), "x")
	m.unchanged(m.execEnd(node1, "x", nil, "lost"), "x")
	m.unchanged(m.execResume(node2, "x"), "x")
	row = m.store.Read().ExecSession("x")
	if row.GetExit().GetCode() != 3 || row.GetError() != "" || !row.GetEndedAt().AsTime().Equal(m.now) || row.GetNodeId() != "n1" {
		t.Errorf("the record is %v", row)
	}
	m.refused(errs.NotFound, m.execEnd(node1, "other", nil, ""))
	m.refused(errs.Invalid, m.as(node1, &commandpb.ExecStart{Session: &execpb.Session{Id: "y"}}))
	m.refused(errs.PermissionDenied, m.execStart(userToken, "y"))
	m.refused(errs.PermissionDenied, m.execEnd(userToken, "x", nil, ""))
}

func TestRecordIsNotTakenByAnotherSession(t *testing.T) {
	m := newExecs(t)
	m.ok(m.execStart(node1, "x"))
	m.ok(m.execEnd(node1, "x", nil, "lost"))
	for name, change := range map[string]func(*execpb.Session){
		"another instance":  func(s *execpb.Session) { s.InstanceId = "i2" },
		"another token":     func(s *execpb.Session) { s.TokenId = "bob" },
		"another command":   func(s *execpb.Session) { s.Argv = []string{"rm"} },
		"the command again": func(s *execpb.Session) { s.StartedAt = m.stamp() },
	} {
		s := m.execSession("x")
		change(s)
		m.refused(errs.Conflict, m.as(node1, &commandpb.ExecStart{Session: s}))
		if name != "the command again" {
			m.refused(errs.Conflict, m.as(node1, &commandpb.ExecStart{Session: s, Resumed: true}))
		}
		if row := m.store.Read().ExecSession("x"); row.GetError() != "lost" || row.GetArgv()[0] != "sh" {
			t.Errorf("%s: the record is %v", name, row)
		}
	}
}

func TestRecordOfAFormerHomeMayComeLate(t *testing.T) {
	m := newExecs(t)
	first := m.execSession("x")
	m.pass(time.Minute)
	m.ok(m.execResume(node2, "x"), "x")
	m.ok(m.as(node1, &commandpb.ExecStart{Session: first}), "x")
	m.unchanged(m.as(node1, &commandpb.ExecStart{Session: first}), "x")
	row := m.store.Read().ExecSession("x")
	if row.GetNodeId() != "n2" || row.GetEndedAt() != nil || !row.GetStartedAt().AsTime().Equal(first.GetStartedAt().AsTime()) {
		t.Errorf("the record is %v", row)
	}
}

func TestResumedSessionGoesOnInItsRecord(t *testing.T) {
	m := newExecs(t)
	running := func() bool { return m.store.Read().ExecSession("x").GetEndedAt() == nil }
	m.ok(m.execStart(node1, "x"))
	m.ok(m.execEnd(node1, "x", nil, "lost"))
	if running() {
		t.Error("it runs although its home lost it")
	}
	m.unchanged(m.execStart(node1, "x")) // late
	if running() {
		t.Error("a late record of its start has opened it")
	}
	m.ok(m.execResume(node2, "x"))
	if row := m.store.Read().ExecSession("x"); !running() || row.GetError() != "" || row.GetNodeId() != "n2" {
		t.Errorf("after it was resumed: %v", row)
	}
	m.unchanged(m.execEnd(node1, "x", nil, "lost")) // late, of the former home
	if !running() {
		t.Error("the former home has ended it")
	}
	m.ok(m.execEnd(node2, "x", nil, "lost"))
	m.ok(m.execEnd(node1, "x", &execpb.Exit{Code: 1}, "")) // who knows is believed
	if row := m.store.Read().ExecSession("x"); row.GetExit().GetCode() != 1 || row.GetError() != "" {
		t.Errorf("after its exit was told: %v", row)
	}
}

func TestSessionOfWhichNobodyTellsTheEndIsEnded(t *testing.T) {
	for name, end := range map[string]func(*machine){
		"its instance exits":  func(m *machine) { m.ok(m.update("i1", 1, exitedState)) },
		"its home is lost":    func(m *machine) { m.ok(m.lead(&commandpb.NodeLost{NodeId: "n1", BootId: "boot1"}), "i1", "x") },
		"its home is removed": func(m *machine) { m.ok(m.do(&commandpb.NodeRemove{Id: "n1"})) },
		"its home has started again": func(m *machine) {
			m.ok(m.as(node1, &commandpb.NodeLost{NodeId: "n1", BootId: "boot2", OtherBoots: true}))
		},
		"its instance is away for long": func(m *machine) {
			m.ok(m.update("i1", 1, detachedState))
			m.pass(time.Hour)
			m.ok(m.lead(&commandpb.Prune{Max: 10, InstanceAge: durationpb.New(time.Minute)}))
		},
	} {
		m := newExecs(t)
		m.ok(m.execStart(node1, "x"))
		m.ok(m.execStart(node2, "y"))
		end(m)
		row := m.store.Read().ExecSession("x")
		if row.GetEndedAt() == nil || row.GetExit() != nil || !strings.HasPrefix(row.GetError(), "its end is not known: ") {
			t.Errorf("%s: the record is %v", name, row)
		}
		if strings.HasPrefix(name, "its home") && m.store.Read().ExecSession("y").GetEndedAt() != nil {
			t.Errorf("%s: another home's session has ended", name)
		}
		m.ok(m.execEnd(node2, "x", &execpb.Exit{Code: 9}, ""))
	}
}

func TestNewestSessionsAreKept(t *testing.T) {
	m := newExecs(t)
	for i := range 5 {
		m.pass(time.Second)
		m.ok(m.execStart(node1, fmt.Sprint("x", i)))
	}
	m.ok(m.lead(&commandpb.Prune{Max: 2, ExecSessionsKeep: 2}))
	m.ok(m.lead(&commandpb.Prune{Max: 2, ExecSessionsKeep: 2}))
	m.unchanged(m.lead(&commandpb.Prune{Max: 2, ExecSessionsKeep: 2}))
	list := m.store.Read().ExecSessions(shopRef(), "", false, 0)
	if len(list) != 2 || list[0].GetId() != "x4" || list[1].GetId() != "x3" {
		t.Errorf("kept are %v", list)
	}
	m.ok(m.execEnd(node1, "x4", nil, "lost"))
	if list := m.store.Read().ExecSessions(nil, "i1", true, 0); len(list) != 1 || list[0].GetId() != "x3" {
		t.Errorf("running are %v", list)
	}
	if list := m.store.Read().ExecSessions(nil, "i2", false, 0); len(list) != 0 {
		t.Errorf("of another instance: %v", list)
	}
	if list := m.store.Read().ExecSessions(nil, "", false, 1); len(list) != 1 || list[0].GetId() != "x4" {
		t.Errorf("the newest is %v", list)
	}
}
