package output

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"waypoint/api/jobpb"
)

// Job shows a job as it goes: its output line by line, on a terminal with a
// moving line below that tells the stage, and how each stage went once the job
// has ended. (Output comes faster than word of the stages, so that a line per
// stage between the output would stand in the wrong place; the output has
// headings of its own.) The methods are called by one goroutine.
type Job struct {
	w     io.Writer
	style Style
	live  bool
	now   func() time.Time

	job     *jobpb.Job // as it was last told
	waiting string
	partial []byte // output after the last line end
	shown   bool   // the moving line is on the screen
	frame   int
}

// heading is what the lines begin with that a runner puts above the output of
// each stage.
const heading = "==> "

// maxPartial bounds an output line without an end; a longer one is broken.
const maxPartial = 64 << 10

// NewJob shows to w. Live says that w is a terminal that takes a moving line.
func NewJob(w io.Writer, style Style, live bool, now func() time.Time) *Job {
	return &Job{w: w, style: style, live: live, now: now}
}

// Update shows what has changed in the job since the last time.
func (j *Job) Update(job *jobpb.Job) {
	j.clear()
	defer j.draw()
	if job.GetAttempt() > 1 && job.GetAttempt() != j.job.GetAttempt() {
		j.flush()
		j.line(j.style.Warn(fmt.Sprintf("attempt %d begins", job.GetAttempt())))
	}
	j.job = job
	if waiting := job.GetWaiting(); waiting != j.waiting && job.GetState() == jobpb.State_STATE_QUEUED {
		j.waiting = waiting
		if waiting != "" {
			j.line("waiting: " + waiting)
		}
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

// Close takes the moving line away, writes the rest of the output and, if the
// job has ended, how its stages went.
func (j *Job) Close() {
	j.clear()
	j.flush()
	j.live = false
	if j.job.GetEndedAt() == nil {
		return
	}
	width := 0
	for _, stage := range j.job.GetStages() {
		width = max(width, len(StageTitle(stage)))
	}
	if width > 0 {
		j.line("")
	}
	for _, stage := range j.job.GetStages() {
		j.stage(stage, width)
	}
}

// stage tells how a stage went.
func (j *Job) stage(stage *jobpb.Stage, width int) {
	title := fmt.Sprintf("%-*s", width, StageTitle(stage))
	took := ""
	if stage.GetStartedAt() != nil && stage.GetEndedAt() != nil {
		took = Took(stage.GetEndedAt().AsTime().Sub(stage.GetStartedAt().AsTime()))
	}
	switch stage.GetState() {
	case jobpb.StageState_STAGE_STATE_SUCCEEDED:
		title = j.style.Good("+ " + title)
	case jobpb.StageState_STAGE_STATE_SKIPPED:
		title, took = j.style.Dim("- "+title), "skipped"
	default:
		title = j.style.Bad("! " + title)
	}
	message := oneLine(stage.GetMessage())
	if stage.GetState() == jobpb.StageState_STAGE_STATE_FAILED {
		message = "-" // it is the job's error, which is told by itself
	}
	text := fmt.Sprintf("%s  %7s  %s", title, took, message)
	j.line(strings.TrimRight(strings.TrimSuffix(text, "-"), " "))
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
	if text := string(data); strings.HasPrefix(text, heading) {
		j.line(j.style.Bold(strings.TrimRight(text, " ")))
		return
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
	switch stage := j.running(); {
	case stage != nil:
		text = StageTitle(stage)
		if started := stage.GetStartedAt(); started != nil {
			text += " " + coarse(max(0, j.now().Sub(started.AsTime())))
		}
	case j.job.GetState() == jobpb.State_STATE_QUEUED:
		text = "queued"
	case j.job.GetState() == jobpb.State_STATE_RUNNING:
		text = "running"
	default:
		return
	}
	frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	fmt.Fprintf(j.w, "%c %s", frames[j.frame%len(frames)], j.style.Dim(text))
	j.shown = true
}

// running is the newest stage under way, or nil.
func (j *Job) running() *jobpb.Stage {
	var found *jobpb.Stage
	for _, stage := range j.job.GetStages() {
		if stage.GetState() == jobpb.StageState_STAGE_STATE_RUNNING {
			found = stage
		}
	}
	return found
}
