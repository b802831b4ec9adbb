package output

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/jobpb"
)

func runningJob(stages ...*jobpb.Stage) *jobpb.Job {
	return &jobpb.Job{State: jobpb.State_STATE_RUNNING, Attempt: 1, Stages: stages}
}

func TestOnATerminalALineMovesBelowTheOutput(t *testing.T) {
	var b bytes.Buffer
	j := NewJob(&b, Style{}, true, func() time.Time { return now })
	j.Update(runningJob(&jobpb.Stage{Name: "build", App: "web", State: jobpb.StageState_STAGE_STATE_RUNNING, StartedAt: timestamppb.New(now.Add(-3 * time.Second))}))
	j.Output([]byte("==> build web\none\ntw"))
	j.Tick()
	j.Update(&jobpb.Job{State: jobpb.State_STATE_SUCCEEDED, Attempt: 1, EndedAt: timestamppb.New(now), Stages: []*jobpb.Stage{
		{Name: "build", App: "web", State: jobpb.StageState_STAGE_STATE_SUCCEEDED, Message: "out", StartedAt: timestamppb.New(now.Add(-1500 * time.Millisecond)), EndedAt: timestamppb.New(now)},
		{Name: "push", App: "web", State: jobpb.StageState_STAGE_STATE_SKIPPED}}})
	j.Close()
	const clear = "\r\x1b[K"
	want := "⠋ build web 3s" + clear + "==> build web\n    one\n⠋ build web 3s" + clear + "⠙ build web 3s" + clear +
		"    tw\n\n+ build web     1.5s  out\n- push web   skipped\n"
	if b.String() != want {
		t.Errorf("got:\n%q\nwant:\n%q", b.String(), want)
	}
}

func TestAFailureIsLeftToTheErrorOfTheJob(t *testing.T) {
	var b bytes.Buffer
	j := NewJob(&b, Style{}, false, func() time.Time { return now })
	j.Update(&jobpb.Job{State: jobpb.State_STATE_FAILED, EndedAt: timestamppb.New(now), Error: "build web: no rule", Stages: []*jobpb.Stage{
		{Name: "build", App: "web", State: jobpb.StageState_STAGE_STATE_FAILED, Message: "no rule"}}})
	j.Close()
	if want := "\n! build web\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestWithoutATerminalNothingMoves(t *testing.T) {
	var b bytes.Buffer
	j := NewJob(&b, Style{}, false, func() time.Time { return now })
	j.Update(&jobpb.Job{State: jobpb.State_STATE_QUEUED, Waiting: "no runner"})
	j.Update(&jobpb.Job{State: jobpb.State_STATE_QUEUED, Waiting: "no runner"})
	j.Tick()
	j.Update(runningJob(&jobpb.Stage{Name: "build", State: jobpb.StageState_STAGE_STATE_RUNNING}))
	j.Output([]byte("no line end"))
	j.Close()
	if want := "waiting: no runner\n    no line end\n"; b.String() != want {
		t.Errorf("got:\n%s", b.String())
	}
}

func TestANewAttemptBeginsAnew(t *testing.T) {
	var b bytes.Buffer
	j := NewJob(&b, Style{}, false, func() time.Time { return now })
	build := &jobpb.Stage{Name: "build", State: jobpb.StageState_STAGE_STATE_RUNNING}
	j.Update(runningJob(build))
	j.Output([]byte("one"))
	second := runningJob(build)
	second.Attempt = 2
	j.Update(second)
	j.Output([]byte("two\n"))
	if want := "    one\nattempt 2 begins\n    two\n"; b.String() != want {
		t.Errorf("got:\n%s", b.String())
	}
}

func TestAnEndlessLineIsBroken(t *testing.T) {
	var b bytes.Buffer
	j := NewJob(&b, Style{}, false, func() time.Time { return now })
	for range 3 {
		j.Output(bytes.Repeat([]byte("x"), maxPartial-1))
	}
	if got := strings.Count(b.String(), "\n"); got != 1 {
		t.Errorf("%d lines", got)
	}
}

func TestColoursAreOnlyForTerminals(t *testing.T) {
	if got := (Style{}).Named("a", "text") + (Style{}).Bad("x"); got != "textx" {
		t.Errorf("got %q", got)
	}
	on := Style{On: true}
	first := on.Named("a", "x")
	if again := on.Named("a", "x"); first != again || !strings.HasSuffix(on.Good("x"), reset) {
		t.Error("colours are not stable")
	}
}
