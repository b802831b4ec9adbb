package fsm_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"waypoint/api/authpb"
	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/api/runnerpb"
	"waypoint/errs"
	"waypoint/state"
)

func TestSubmittingAJob(t *testing.T) {
	m := newShop(t)
	up := spec(jobpb.Operation_OPERATION_UP)
	m.ok(m.do(&commandpb.JobSubmit{Id: "j1", Spec: up}), "j1")
	m.unchanged(m.do(&commandpb.JobSubmit{Id: "j1", Spec: up}), "j1")
	m.refused(errs.AlreadyExists, m.do(&commandpb.JobSubmit{Id: "j1", Spec: spec(jobpb.Operation_OPERATION_BUILD)}))
	j := m.store.Read().Job("j1")
	if j.GetState() != jobpb.State_STATE_QUEUED || j.GetCreatedBy() != userToken || j.GetCreatedAt() == nil || !proto.Equal(j.GetSpec(), up) {
		t.Errorf("the job is %v", j)
	}
	for name, c := range map[string]struct {
		spec *jobpb.Spec
		want errs.Kind
	}{
		"no spec":            {nil, errs.Invalid},
		"no project":         {&jobpb.Spec{Operation: jobpb.Operation_OPERATION_UP}, errs.Invalid},
		"an unknown project": {&jobpb.Spec{Operation: jobpb.Operation_OPERATION_UP, Project: "none"}, errs.NotFound},
		"an unknown app":     {&jobpb.Spec{Operation: jobpb.Operation_OPERATION_UP, Project: "shop", App: "none"}, errs.NotFound},
	} {
		t.Run(name, func(t *testing.T) { m.refused(c.want, m.do(&commandpb.JobSubmit{Id: "x", Spec: c.spec})) })
	}
	m.ok(m.do(&commandpb.JobSubmit{Id: "j2", Spec: &jobpb.Spec{Operation: jobpb.Operation_OPERATION_NOOP}}))
	m.ok(m.do(&commandpb.JobSubmit{Id: "j3", Spec: &jobpb.Spec{Operation: jobpb.Operation_OPERATION_UP, Project: "shop"}}))
}

func TestWhichRunnersMayTakeAJob(t *testing.T) {
	runner := &runnerpb.Runner{Host: "h", Labels: map[string]string{"zone": "a", "gpu": ""}}
	local := &runnerpb.Runner{Host: "h", Local: true}
	for name, c := range map[string]struct {
		runner *runnerpb.Runner
		target *jobpb.Target
		want   bool
	}{
		"no target":              {runner, nil, true},
		"itself":                 {runner, &jobpb.Target{RunnerId: "r"}, true},
		"another runner":         {runner, &jobpb.Target{RunnerId: "q"}, false},
		"its host":               {runner, &jobpb.Target{Host: "h"}, true},
		"another host":           {runner, &jobpb.Target{Host: "g"}, false},
		"its labels":             {runner, &jobpb.Target{Labels: map[string]string{"zone": "a", "gpu": ""}}, true},
		"another label":          {runner, &jobpb.Target{Labels: map[string]string{"zone": "b"}}, false},
		"a missing label":        {runner, &jobpb.Target{Labels: map[string]string{"disk": ""}}, false},
		"local and no target":    {local, nil, false},
		"local and itself":       {local, &jobpb.Target{RunnerId: "r"}, true},
		"local and another":      {local, &jobpb.Target{RunnerId: "q"}, false},
		"local and its host":     {local, &jobpb.Target{Host: "h"}, false},
		"itself on another host": {local, &jobpb.Target{RunnerId: "r", Host: "g"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newShop(t)
			r := proto.CloneOf(c.runner)
			r.Id, r.NodeId, r.NodeBoot, r.Generation = "r", "n1", "boot1", 1
			m.ok(m.as(node1, &commandpb.RunnerAttach{Runner: r}))
			s := spec(jobpb.Operation_OPERATION_UP)
			s.Target = c.target
			m.ok(m.do(&commandpb.JobSubmit{Id: "j", Spec: s}))
			result := m.lead(&commandpb.JobAssign{Id: "j", RunnerId: "r"})
			if !c.want {
				m.refused(errs.Conflict, result)
				return
			}
			m.ok(result, "j")
		})
	}
}

func TestAssigningAJob(t *testing.T) {
	m := newShop(t)
	m.withRunner("r")
	for n := range 3 {
		m.ok(m.do(&commandpb.JobSubmit{Id: fmt.Sprint("j", n), Spec: spec(jobpb.Operation_OPERATION_UP)}))
	}
	m.refused(errs.NotFound, m.lead(&commandpb.JobAssign{Id: "none", RunnerId: "r"}))
	m.refused(errs.NotFound, m.lead(&commandpb.JobAssign{Id: "j0", RunnerId: "none"}))
	r := m.lead(&commandpb.JobAssign{Id: "j0", RunnerId: "r"})
	m.ok(r, "j0")
	if r.GetVersion() != 1 {
		t.Errorf("the attempt is %d", r.GetVersion())
	}
	j := m.store.Read().Job("j0")
	if j.GetState() != jobpb.State_STATE_RUNNING || j.GetRunnerId() != "r" || j.GetAttempt() != 1 || j.GetAssignedAt() == nil {
		t.Errorf("the job is %v", j)
	}
	m.refused(errs.Conflict, m.lead(&commandpb.JobAssign{Id: "j0", RunnerId: "r"}))
	m.ok(m.lead(&commandpb.JobAssign{Id: "j1", RunnerId: "r"}))
	m.refused(errs.Conflict, m.lead(&commandpb.JobAssign{Id: "j2", RunnerId: "r"})) // two slots
	m.ok(m.do(&commandpb.JobFinish{Fence: fenceOf("j0", 1), State: jobpb.State_STATE_SUCCEEDED}))
	m.ok(m.as(node1, &commandpb.RunnerDetach{Id: "r", NodeId: "n1", NodeBoot: "boot1", Generation: 1}))
	m.refused(errs.Conflict, m.lead(&commandpb.JobAssign{Id: "j2", RunnerId: "r"}))
}

func TestStagesOfAJob(t *testing.T) {
	m := newShop(t)
	m.withRunner("r")
	m.running("j", "r", spec(jobpb.Operation_OPERATION_UP))
	stage := func(name, app string, s jobpb.StageState, message string) *commandpb.Result {
		return m.do(&commandpb.JobStage{Fence: fenceOf("j", 1), Stage: &jobpb.Stage{Name: name, App: app, State: s, Message: message}})
	}
	began := m.now
	m.ok(stage("build", "web", jobpb.StageState_STAGE_STATE_RUNNING, ""))
	m.ok(stage("build", "api", jobpb.StageState_STAGE_STATE_RUNNING, ""))
	m.unchanged(stage("build", "api", jobpb.StageState_STAGE_STATE_RUNNING, ""))
	m.pass(time.Second)
	m.ok(stage("build", "web", jobpb.StageState_STAGE_STATE_SUCCEEDED, "done"))
	m.ok(stage("push", "web", jobpb.StageState_STAGE_STATE_SKIPPED, ""))
	stages := m.store.Read().Job("j").GetStages()
	if len(stages) != 3 || stages[0].GetMessage() != "done" || stages[2].GetName() != "push" {
		t.Fatalf("the stages are %v", stages)
	}
	if !stages[0].GetStartedAt().AsTime().Equal(began) || !stages[0].GetEndedAt().AsTime().Equal(m.now) || stages[1].GetEndedAt() != nil {
		t.Errorf("their times are %v", stages)
	}
	m.refused(errs.Invalid, stage("", "", jobpb.StageState_STAGE_STATE_RUNNING, ""))
	m.refused(errs.StaleAttempt, m.do(&commandpb.JobStage{Fence: fenceOf("j", 2), Stage: &jobpb.Stage{Name: "x"}}))
	m.ok(m.do(&commandpb.JobFinish{Fence: fenceOf("j", 1), State: jobpb.State_STATE_FAILED, Error: "no"}))
	if s := m.store.Read().Job("j").GetStages()[1]; s.GetState() != jobpb.StageState_STAGE_STATE_FAILED || s.GetEndedAt() == nil {
		t.Errorf("an unfinished stage of a failed job is %v", s)
	}
}

func TestFinishingAJob(t *testing.T) {
	m := newShop(t)
	m.withRunner("r")
	m.running("j", "r", spec(jobpb.Operation_OPERATION_UP))
	m.ok(m.as(runnerToken, &commandpb.BuildCreate{Build: &deploymentpb.Build{Id: "b", App: shopRef(), Fence: fenceOf("j", 1)}}))
	finish := func(attempt uint32, s jobpb.State) *commandpb.Result {
		return m.as(runnerToken, &commandpb.JobFinish{Fence: fenceOf("j", attempt), State: s, Error: "no", OutputZstd: []byte("z"), OutputBytes: 9, OutputTruncated: true})
	}
	m.refused(errs.StaleAttempt, finish(2, jobpb.State_STATE_FAILED))
	m.refused(errs.StaleAttempt, m.do(&commandpb.JobFinish{State: jobpb.State_STATE_FAILED}))
	m.refused(errs.Invalid, finish(1, jobpb.State_STATE_QUEUED))
	m.refused(errs.Conflict, finish(1, jobpb.State_STATE_CANCELED))
	m.ok(finish(1, jobpb.State_STATE_FAILED), "j")
	m.unchanged(finish(1, jobpb.State_STATE_FAILED), "j")
	m.refused(errs.StaleAttempt, finish(1, jobpb.State_STATE_SUCCEEDED))
	m.refused(errs.StaleAttempt, finish(2, jobpb.State_STATE_FAILED))
	tx := m.store.Read()
	j := tx.Job("j")
	if j.GetState() != jobpb.State_STATE_FAILED || j.GetError() != "no" || j.GetOutputBytes() != 9 || !j.GetOutputTruncated() || j.GetEndedAt() == nil {
		t.Errorf("the job is %v", j)
	}
	if string(tx.JobOutput("j").GetZstd()) != "z" {
		t.Errorf("its output is %v", tx.JobOutput("j"))
	}
	if got := tx.Build("b").GetStatus(); got != deploymentpb.Status_STATUS_FAILED {
		t.Errorf("the build that the job left behind is %v", got)
	}
}

func TestCancellingAJob(t *testing.T) {
	m := newShop(t)
	m.withRunner("r")
	m.ok(m.do(&commandpb.JobSubmit{Id: "queued", Spec: spec(jobpb.Operation_OPERATION_UP)}))
	m.running("running", "r", spec(jobpb.Operation_OPERATION_BUILD))
	m.running("expiring", "r", spec(jobpb.Operation_OPERATION_BUILD))
	m.refused(errs.NotFound, m.do(&commandpb.JobCancel{Id: "none"}))
	m.ok(m.do(&commandpb.JobCancel{Id: "queued"}), "queued")
	m.refused(errs.Conflict, m.do(&commandpb.JobCancel{Id: "queued"}))
	m.ok(m.do(&commandpb.JobCancel{Id: "running"}))
	m.unchanged(m.do(&commandpb.JobCancel{Id: "running"}))
	m.ok(m.do(&commandpb.JobCancel{Id: "expiring"}))
	if j := m.store.Read().Job("running"); j.GetState() != jobpb.State_STATE_RUNNING || !j.GetCancelRequested() {
		t.Errorf("the running job is %v", j)
	}
	m.ok(m.do(&commandpb.JobFinish{Fence: fenceOf("running", 1), State: jobpb.State_STATE_CANCELED}))
	m.ok(m.lead(&commandpb.JobExpire{Fence: fenceOf("expiring", 1), Reason: "gone"}))
	for _, id := range []string{"queued", "running", "expiring"} {
		if j := m.store.Read().Job(id); j.GetState() != jobpb.State_STATE_CANCELED || j.GetEndedAt() == nil {
			t.Errorf("job %s is %v", id, j)
		}
	}
}

func TestAnExpiredAttemptIsRepeatedByPolicy(t *testing.T) {
	const op = jobpb.Operation_OPERATION_BUILD
	for name, c := range map[string]struct {
		operation jobpb.Operation
		max       uint32
		attempts  uint32
	}{
		"build":              {jobpb.Operation_OPERATION_BUILD, 0, 3},
		"noop":               {jobpb.Operation_OPERATION_NOOP, 0, 3},
		"deploy":             {jobpb.Operation_OPERATION_DEPLOY, 0, 1},
		"release":            {jobpb.Operation_OPERATION_RELEASE, 0, 1},
		"up":                 {jobpb.Operation_OPERATION_UP, 0, 1},
		"destroy":            {jobpb.Operation_OPERATION_DESTROY, 0, 1},
		"up, twice if asked": {jobpb.Operation_OPERATION_UP, 2, 2},
		"build, once":        {op, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := newShop(t)
			m.withRunner("r")
			s := spec(c.operation)
			s.MaxAttempts = c.max
			m.ok(m.do(&commandpb.JobSubmit{Id: "j", Spec: s}))
			for attempt := uint32(1); attempt <= c.attempts; attempt++ {
				m.ok(m.lead(&commandpb.JobAssign{Id: "j", RunnerId: "r"}))
				m.ok(m.do(&commandpb.JobStage{Fence: fenceOf("j", attempt), Stage: &jobpb.Stage{Name: "x", State: jobpb.StageState_STAGE_STATE_RUNNING}}))
				m.refused(errs.StaleAttempt, m.lead(&commandpb.JobExpire{Fence: fenceOf("j", attempt+1)}))
				m.ok(m.lead(&commandpb.JobExpire{Fence: fenceOf("j", attempt), Reason: "its runner is gone"}))
				m.refused(errs.StaleAttempt, m.lead(&commandpb.JobExpire{Fence: fenceOf("j", attempt)}))
				j := m.store.Read().Job("j")
				if attempt < c.attempts && (j.GetState() != jobpb.State_STATE_QUEUED || j.GetRunnerId() != "") {
					t.Errorf("after attempt %d the job is %v", attempt, j)
				}
			}
			if j := m.store.Read().Job("j"); j.GetState() != jobpb.State_STATE_FAILED || j.GetError() != "its runner is gone" {
				t.Errorf("in the end the job is %v", j)
			}
		})
	}
}

func TestPrune(t *testing.T) {
	m := newShop(t)
	m.deployed("d1")
	m.withRunner("r")
	for n := range 5 {
		id := fmt.Sprint("j", n)
		m.running(id, "r", spec(jobpb.Operation_OPERATION_BUILD))
		m.ok(m.do(&commandpb.JobFinish{Fence: fenceOf(id, 1), State: jobpb.State_STATE_SUCCEEDED, OutputZstd: []byte("z")}))
		m.pass(time.Second)
	}
	m.ok(m.do(&commandpb.JobSubmit{Id: "queued", Spec: spec(jobpb.Operation_OPERATION_UP)}))
	m.ok(m.attached("living", "d1", 1))
	m.ok(m.attached("ended", "d1", 1))
	m.ok(m.update("ended", 1, exitedState))
	m.ok(m.do(&commandpb.TokenCreate{Token: &authpb.Token{Id: "old", Kind: authpb.TokenKind_TOKEN_KIND_USER, ExpiresAt: m.stamp()}}))
	sweep := func(max uint32) *commandpb.Result {
		return m.lead(&commandpb.Prune{Max: max, InstanceAge: durationpb.New(time.Hour), JobsKeep: 2})
	}
	m.refused(errs.Invalid, sweep(0))

	m.ok(sweep(2))
	m.ok(sweep(2))
	m.unchanged(sweep(2))
	jobs := m.store.Read().Jobs(state.JobFilter{})
	if len(jobs) != 3 || jobs[1].GetId() != "j4" || jobs[2].GetId() != "j3" || m.store.Read().JobOutput("j0") != nil {
		t.Errorf("the jobs that are left are %v", jobs)
	}
	m.pass(31 * 24 * time.Hour)
	m.ok(m.as(node1, &commandpb.RunnerDetach{Id: "r", NodeId: "n1", NodeBoot: "boot1", Generation: 1}))
	m.ok(sweep(100))
	tx := m.store.Read()
	if tx.Instance("ended") != nil || tx.Instance("living") == nil || tx.Runner("r") == nil {
		t.Error("the wrong instances or runners are left")
	}
	if tx.Token("old") != nil || tx.Token(userToken) == nil {
		t.Error("the wrong tokens are left")
	}
	m.pass(2 * time.Hour)
	m.ok(sweep(100))
	if m.store.Read().Runner("r") != nil {
		t.Error("the runner is left")
	}
	m.unchanged(m.lead(&commandpb.Prune{Max: 100}))
}
