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
	j.Output([]byte("one\ntw"))
	j.Tick()
	j.Update(&jobpb.Job{State: jobpb.State_STATE_SUCCEEDED, Attempt: 1, Stages: []*jobpb.Stage{{Name: "build", App: "web", State: jobpb.StageState_STAGE_STATE_SUCCEEDED}}})
	j.Close()
	const clear = "\r\x1b[K"
	want := "> build web\n⠋ build web 3s" + clear + "    one\n⠋ build web 3s" + clear + "⠙ build web 3s" + clear + "    tw\n+ build web\n"
	if b.String() != want {
		t.Errorf("got:\n%q\nwant:\n%q", b.String(), want)
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
	if want := "waiting: no runner\n> build\n    no line end\n"; b.String() != want {
		t.Errorf("got:\n%s", b.String())
	}
}

func TestANewAttemptBeginsAnew(t *testing.T) {
	var b bytes.Buffer
	j := NewJob(&b, Style{}, false, func() time.Time { return now })
	build := &jobpb.Stage{Name: "build", State: jobpb.StageState_STAGE_STATE_RUNNING}
	j.Update(runningJob(build))
	second := runningJob(build)
	second.Attempt = 2
	j.Update(second)
	if want := "> build\nattempt 2 begins\n> build\n"; b.String() != want {
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
	if on.Named("a", "x") != on.Named("a", "x") || !strings.HasSuffix(on.Good("x"), reset) {
		t.Error("colours are not stable")
	}
}
