package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"waypoint/api/jobpb"
	"waypoint/command/output"
	"waypoint/errs"
	"waypoint/internal/backoff"
)

// A broken stream is taken up again on any node, for this long after the last
// message. A cluster that has lost its leader needs a fraction of it.
const streamPatience = 2 * time.Minute

// lost tells whether a stream's error means that the stream, not the request,
// has failed, so that it may be taken up again.
func lost(err error) bool {
	return errs.Is(err, errs.Unavailable) || errs.Is(err, errs.OutcomeUnknown)
}

// follower follows one job over broken streams.
type follower struct {
	api     jobpb.JobServiceClient
	cc      Conn
	now     func() time.Time
	id      string
	attempt uint32
	offset  uint64
	ended   bool
}

// run sends what comes to updates until the job has ended and all of its
// output was sent.
func (f *follower) run(ctx context.Context, updates chan<- *jobpb.WatchResponse) error {
	pause := backoff.New(100*time.Millisecond, 2*time.Second)
	heard := f.now()
	for {
		err := f.once(ctx, func(u *jobpb.WatchResponse) error {
			pause.Reset()
			heard = f.now()
			select {
			case updates <- u:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !lost(err) || f.now().Sub(heard) > streamPatience:
			return fmt.Errorf("watch job %s: %w", f.id, err)
		}
		f.cc.Avoid(f.cc.Current())
		if err := pause.Wait(ctx); err != nil {
			return err
		}
	}
}

// once follows one stream to its end.
func (f *follower) once(ctx context.Context, emit func(*jobpb.WatchResponse) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := f.api.Watch(ctx, &jobpb.WatchRequest{Id: f.id, Attempt: f.attempt, OutputOffset: f.offset})
	if err != nil {
		return err
	}
	for {
		u, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if f.ended {
				return nil
			}
			return errs.New(errs.Unavailable, "the stream ended before the job did")
		}
		if err != nil {
			return err
		}
		f.note(u)
		if err := emit(u); err != nil {
			return err
		}
	}
}

// note takes from an update what was seen before and remembers how far it goes.
func (f *follower) note(u *jobpb.WatchResponse) {
	if u.GetJob() != nil {
		f.ended = ended(u.GetJob())
	}
	if len(u.GetOutput()) == 0 {
		return
	}
	if u.GetAttempt() != f.attempt {
		f.attempt, f.offset = u.GetAttempt(), 0
	}
	if seen := f.offset - min(f.offset, u.GetOutputOffset()); seen > 0 {
		seen = min(seen, uint64(len(u.GetOutput())))
		u.Output = u.GetOutput()[seen:]
		u.OutputOffset += seen
	}
	f.offset = u.GetOutputOffset() + uint64(len(u.GetOutput()))
}

// watching is a job on its way over the screen.
type watching struct {
	env    *Env
	cc     Conn
	id     string
	json   bool
	runner <-chan error // ends with the local runner; nil without one
	// interrupt is called for each signal; an error ends the watching.
	interrupt func(count int, say func(text string)) error

	screen *output.Job
	last   *jobpb.Job
}

// run shows the job until it has ended, and returns it as it ended.
func (w *watching) run(ctx context.Context) (*jobpb.Job, error) {
	ctx, cancel := context.WithCancel(ctx)
	signals, stopSignals := w.env.Signals(os.Interrupt, syscall.SIGTERM)
	defer stopSignals()
	live := !w.json && w.env.Terminal.Is(w.env.Stdout)
	w.screen = output.NewJob(w.env.Stdout, w.env.style(w.env.Stdout), live, w.env.Now)
	defer w.screen.Close()

	updates := make(chan *jobpb.WatchResponse)
	result := make(chan error, 1)
	go func() {
		f := &follower{api: jobpb.NewJobServiceClient(w.cc), cc: w.cc, now: w.env.Now, id: w.id}
		result <- f.run(ctx, updates)
	}()
	err, followed := w.loop(updates, result, signals, live)
	cancel()
	if !followed {
		<-result
	}
	return w.last, err
}

// loop shows updates. followed says that result has been received.
func (w *watching) loop(updates <-chan *jobpb.WatchResponse, result <-chan error, signals <-chan os.Signal, live bool) (err error, followed bool) {
	var ticks <-chan time.Time
	if live {
		ticker := time.NewTicker(120 * time.Millisecond)
		defer ticker.Stop()
		ticks = ticker.C
	}
	for count := 1; ; {
		select {
		case u := <-updates:
			if err := w.show(u); err != nil {
				return err, false
			}
		case err := <-result:
			return err, true
		case <-ticks:
			w.screen.Tick()
		case <-signals:
			if err := w.interrupt(count, w.say); err != nil {
				return err, false
			}
			count++
		case err := <-w.runner:
			return fmt.Errorf("the runner of this command stopped before the job ended: %w", err), false
		}
	}
}

// say shows a word for people without getting between lines of JSON.
func (w *watching) say(text string) {
	if w.json {
		fmt.Fprintln(w.env.Stderr, text)
		return
	}
	w.screen.Notice(text)
}

func (w *watching) show(u *jobpb.WatchResponse) error {
	if u.GetJob() != nil {
		w.last = u.GetJob()
	}
	if w.json {
		if u.GetJob() == nil && len(u.GetOutput()) == 0 {
			return nil
		}
		return output.MessageLine(w.env.Stdout, u)
	}
	// Output belongs to the stage that was under way when it came, so it
	// stands before what the job says of itself.
	w.screen.Output(u.GetOutput())
	if u.GetJob() != nil {
		w.screen.Update(u.GetJob())
	}
	return nil
}

// outcome is the error of a job that did not succeed.
func outcome(j *jobpb.Job) error {
	what := fmt.Sprintf("%s %s", operationWord(j.GetSpec().GetOperation()), j.GetSpec().GetProject())
	switch j.GetState() {
	case jobpb.State_STATE_SUCCEEDED:
		return nil
	case jobpb.State_STATE_CANCELED:
		return errs.New(errs.Canceled, "%s: job %s was cancelled", what, j.GetId())
	default:
		return errs.New(errs.Conflict, "%s: %s (job %s)", what, j.GetError(), j.GetId())
	}
}

func jobWatchCommand() *Command {
	f := newFlags()
	conn := f.writes()
	return &Command{
		Synopsis: "Show a job and its output as it goes",
		Args:     "ID",
		Help:     `Of a job that has ended, its kept output is shown. The exit code is 0 if the job succeeds and 1 if it does not. Ctrl-C ends the watching, not the job.`,
		Examples: `waypoint job watch 01J9ZQ6V8N0000000000000000`,
		Flags:    f,
		Signals:  true,
		Run: func(ctx context.Context, env *Env, args []string) error {
			id, err := oneArg(args, "the job's ID")
			if err != nil {
				return err
			}
			return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				w := &watching{env: env, cc: cc, id: id, json: conn.json, interrupt: leaveRunning(id)}
				job, err := w.run(ctx)
				if err != nil {
					return err
				}
				return outcome(job)
			})
		},
	}
}

// leaveRunning is what an interrupt means to who only watches.
func leaveRunning(id string) func(int, func(string)) error {
	return func(int, func(string)) error {
		return errs.New(errs.Canceled, "interrupted; the job goes on: \"waypoint job watch %s\" shows it, \"waypoint job cancel %s\" stops it", id, id)
	}
}
