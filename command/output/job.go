package output

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"waypoint/api/jobpb"
)

// Job shows a job as it goes: on a terminal with a line that moves, elsewhere
// with plain lines. Its methods are called by one goroutine.
type Job struct {
	w     io.Writer
	style Style
	live  bool
	now   func() time.Time

	stages  map[string]jobpb.StageState
	running *jobpb.Stage // newest stage under way
	state   jobpb.State
	waiting string
	attempt uint32
	partial []byte // output after the last line end
	shown   bool   // the moving line is on the screen
	frame   int
}

// maxPartial bounds an output line without an end; a longer one is broken.
const maxPartial = 64 << 10

// NewJob shows to w. Live says that w is a terminal that takes a moving line.
func NewJob(w io.Writer, style Style, live bool, now func() time.Time) *Job {
	return &Job{w: w, style: style, live: live, now: now, stages: map[string]jobpb.StageState{}}
}

// Update shows what has changed in the job since the last time.
func (j *Job) Update(job *jobpb.Job) {
	j.clear()
	defer j.draw()
	if job.GetAttempt() > 1 && job.GetAttempt() != j.attempt {
		j.flush()
		j.stages = map[string]jobpb.StageState{}
		j.line(j.style.Warn(fmt.Sprintf("attempt %d begins", job.GetAttempt())))
	}
	j.attempt = job.GetAttempt()
	j.state = job.GetState()
	if waiting := job.GetWaiting(); waiting != j.waiting && job.GetState() == jobpb.State_STATE_QUEUED {
		j.waiting = waiting
		if waiting != "" {
			j.line("waiting: " + waiting)
		}
	}
	j.running = nil
	for _, stage := range job.GetStages() {
		j.stage(stage)
	}
}

// Output shows output of the job, indented, line by line.
func (j *Job) Output(data []byte) {
	if len(data) == 0 {
		return
	}
	j.clear()
	defer j.draw()
	j.partial = append(j.partial, data...)
	for {
		end := bytes.IndexByte(j.partial, '\n')
		if end < 0 {
			break
		}
		j.outputLine(j.partial[:end])
		j.partial = j.partial[end+1:]
	}
	if len(j.partial) > maxPartial {
		j.flush()
	}
}

// Notice shows a word for people between the lines.
func (j *Job) Notice(text string) {
	j.clear()
	defer j.draw()
	j.line(j.style.Warn(text))
}

// Tick moves the moving line on.
func (j *Job) Tick() {
	if !j.live {
		return
	}
	j.frame++
	j.clear()
	j.draw()
}

// Close takes the moving line away and writes the rest of the output.
func (j *Job) Close() {
	j.clear()
	j.flush()
	j.live = false
}

func (j *Job) stage(stage *jobpb.Stage) {
	key := stage.GetApp() + "/" + stage.GetName()
	before := j.stages[key]
	j.stages[key] = stage.GetState()
	if stage.GetState() == jobpb.StageState_STAGE_STATE_RUNNING {
		j.running = stage
	}
	if before == stage.GetState() {
		return
	}
	j.flush()
	title := StageTitle(stage)
	took := ""
	if stage.GetStartedAt() != nil && stage.GetEndedAt() != nil {
		took = " " + j.style.Dim(Took(stage.GetEndedAt().AsTime().Sub(stage.GetStartedAt().AsTime())))
	}
	message := ""
	if stage.GetMessage() != "" {
		message = ": " + stage.GetMessage()
	}
	switch stage.GetState() {
	case jobpb.StageState_STAGE_STATE_RUNNING:
		j.line(j.style.Bold("> " + title))
	case jobpb.StageState_STAGE_STATE_SUCCEEDED:
		j.line(j.style.Good("+ "+title) + message + took)
	case jobpb.StageState_STAGE_STATE_FAILED:
		j.line(j.style.Bad("! "+title+" failed") + message + took)
	case jobpb.StageState_STAGE_STATE_SKIPPED:
		j.line(j.style.Dim("- " + title + " skipped" + message))
	}
}

// StageTitle names a stage for people: "build hello".
func StageTitle(stage *jobpb.Stage) string {
	return strings.TrimSpace(stage.GetName() + " " + stage.GetApp())
}

func (j *Job) outputLine(data []byte) {
	data = bytes.TrimRight(data, "\r")
	// Of a line that a program wrote over itself only the last form is of use.
	if i := bytes.LastIndexByte(data, '\r'); i >= 0 {
		data = data[i+1:]
	}
	j.line("    " + string(data))
}

func (j *Job) flush() {
	if len(j.partial) > 0 {
		j.outputLine(j.partial)
	}
	j.partial = nil
}

func (j *Job) line(text string) { fmt.Fprintln(j.w, text) }

func (j *Job) clear() {
	if j.shown {
		io.WriteString(j.w, "\r\x1b[K")
		j.shown = false
	}
}

// draw shows the moving line while there is something to wait for.
func (j *Job) draw() {
	if !j.live {
		return
	}
	text := ""
	switch {
	case j.running != nil:
		text = StageTitle(j.running)
		if started := j.running.GetStartedAt(); started != nil {
			text += " " + coarse(max(0, j.now().Sub(started.AsTime())))
		}
	case j.state == jobpb.State_STATE_QUEUED:
		text = "queued"
	case j.state == jobpb.State_STATE_RUNNING:
		text = "running"
	default:
		return
	}
	frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	fmt.Fprintf(j.w, "%c %s", frames[j.frame%len(frames)], j.style.Dim(text))
	j.shown = true
}
