package entrypoint

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"waypoint/api/execpb"
	"waypoint/errs"
	"waypoint/internal/task"
)

const (
	chunk      = 31 << 10               // bytes of output in one message
	inputQueue = 32                     // messages of input that wait for the command
	lastOutput = 100 * time.Millisecond // without any, after which an ended command's output is over
	endOfText  = 4                      // what a terminal takes as end of file
	probeEvery = 2 * time.Second        // while input that is not read keeps us from receiving
	hangUpWait = 2 * time.Second        // for what a hangup ends
)

var errStreamEnded = errs.New(errs.Canceled, "the session's stream has ended")

// command is the command of one exec session and our ends of its files.
type command struct {
	reaper  *reaper
	process *process
	terms   *os.File // our side of its terminal; nil without one
	stdin   *os.File // nil: nothing is sent to it
	outputs []*output
	closing sync.Once
	asked   chan struct{} // holds a token when the other side has asked for the end
}

// output is one stream that comes from a command.
type output struct {
	from   *os.File
	stderr bool
	offset uint64
	ended  atomic.Bool // the command has
}

// openFiles makes the command's files, and keeps our ends.
func (c *command) openFiles(open *execpb.Open) (files []*os.File, err error) {
	if open.GetTty() {
		controller, terminal, err := openPTY()
		if err != nil {
			return nil, err
		}
		if size := open.GetSize(); size.GetRows() > 0 && size.GetColumns() > 0 {
			_ = resize(controller, size.GetRows(), size.GetColumns())
		}
		c.terms, c.stdin = controller, controller
		c.outputs = []*output{{from: controller}}
		return []*os.File{terminal, terminal, terminal}, nil
	}
	files = make([]*os.File, 3)
	if open.GetStdin() {
		files[0], c.stdin, err = os.Pipe()
	} else {
		files[0], err = os.Open(os.DevNull)
	}
	for i := 1; i < 3 && err == nil; i++ {
		out := &output{stderr: i == 2}
		out.from, files[i], err = os.Pipe()
		c.outputs = append(c.outputs, out)
	}
	return files, err
}

// close closes our ends; it may be called more than once.
func (c *command) close() {
	c.closing.Do(func() {
		closeAll(c.stdin)
		for _, out := range c.outputs {
			if out.from != c.stdin {
				closeAll(out.from)
			}
		}
	})
}

// serve carries bytes until the command has ended and its output is sent, or
// until the stream ends, which ends the command.
// The context is the stream's, which cancel ends.
func (c *command) serve(ctx context.Context, cancel context.CancelCauseFunc, s *execStream, id, instance string) error {
	opened := &execpb.Opened{SessionId: id, InstanceId: instance, Pid: uint32(c.process.pid)}
	err := s.send(&execpb.Output{Kind: &execpb.Output_Opened{Opened: opened}})

	var inputs, outputs sync.WaitGroup
	queue := make(chan *execpb.Input, inputQueue)
	inputs.Go(guarded(cancel, func() {
		defer cancel(errStreamEnded)
		defer close(queue)
		c.receive(ctx, s, queue)
	}))
	inputs.Go(guarded(cancel, func() { c.feed(queue) }))
	for _, out := range c.outputs {
		outputs.Go(guarded(cancel, func() {
			if !out.copy(s) {
				cancel(errStreamEnded)
			}
		}))
	}
	select {
	case <-c.process.ended:
	case <-c.asked:
		c.hangUp()
	case <-ctx.Done():
		c.hangUp()
	}
	killGroup(c.process.pid) // what it has left behind
	for _, out := range c.outputs {
		out.drain()
	}
	outputs.Wait()
	if err == nil {
		err = s.last(&execpb.Output{Kind: &execpb.Output_Exit{Exit: &execpb.Exit{Code: int32(c.process.code)}}})
	}
	c.close()
	// The home node ends the stream when it has the exit code.
	late := time.AfterFunc(openWithin, func() { cancel(errStreamEnded) })
	defer late.Stop()
	inputs.Wait()
	return err
}

// guarded returns fn so that a panic in it ends the session, not the process.
func guarded(cancel context.CancelCauseFunc, fn func()) func() {
	return func() {
		if err := task.Protect(func() error { fn(); return nil }); err != nil {
			cancel(err)
		}
	}
}

// hangUp ends the command and waits for that. On a terminal everything in its
// session gets a hangup first, for a shell's jobs are process groups of their
// own.
func (c *command) hangUp() {
	select {
	case <-c.process.ended:
		return
	default:
	}
	if c.terms != nil {
		// The kernel tells the leader of the session and nobody else, and not
		// every shell tells its jobs.
		for _, pid := range sessionMembers(c.process.pid) {
			if pid != c.process.pid {
				_ = syscall.Kill(pid, syscall.SIGHUP)
				_ = syscall.Kill(pid, syscall.SIGCONT)
			}
		}
		c.close()
		timer := time.NewTimer(hangUpWait)
		defer timer.Stop()
		select {
		case <-c.process.ended:
		case <-timer.C:
		}
	}
	c.reaper.signal(c.process, syscall.SIGKILL)
	<-c.process.ended
}

// receive takes what comes towards the command until the stream ends or asks
// for the end. Input waits in a bounded queue for the command to read it.
func (c *command) receive(ctx context.Context, s *execStream, queue chan<- *execpb.Input) {
	for {
		in, err := s.raw.Recv()
		if err != nil {
			return
		}
		switch kind := in.GetKind().(type) {
		case *execpb.Input_Stdin, *execpb.Input_StdinEof:
			if !c.enqueue(ctx, s, queue, in) {
				return
			}
		case *execpb.Input_Size:
			if c.terms != nil {
				_ = resize(c.terms, kind.Size.GetRows(), kind.Size.GetColumns())
			}
		case *execpb.Input_Signal:
			c.signal(syscall.Signal(kind.Signal))
		case *execpb.Input_Close:
			select {
			case c.asked <- struct{}{}:
			default:
			}
		case *execpb.Input_Ping:
			_ = s.send(&execpb.Output{Kind: &execpb.Output_Pong{Pong: true}})
		}
	}
}

// enqueue queues input for the command; false when the stream has ended. As
// long as it waits nobody receives, so it finds that out by sending.
func (c *command) enqueue(ctx context.Context, s *execStream, queue chan<- *execpb.Input, in *execpb.Input) bool {
	probe := time.NewTimer(probeEvery)
	defer probe.Stop()
	for {
		select {
		case queue <- in:
			return true
		case <-c.process.ended:
			return true
		case <-ctx.Done():
			return false
		case <-probe.C:
			if s.send(nil) != nil {
				return false
			}
			probe.Reset(probeEvery)
		}
	}
}

// feed writes input to the command. After a failure, for the command may have
// closed its end, the rest is dropped.
func (c *command) feed(queue <-chan *execpb.Input) {
	var broken bool
	for in := range queue {
		if broken || c.stdin == nil {
			continue
		}
		var err error
		switch {
		case !in.GetStdinEof():
			_, err = c.stdin.Write(in.GetStdin())
		case c.terms != nil:
			_, err = c.terms.Write([]byte{endOfText})
		default:
			err = errors.Join(c.stdin.Close(), io.EOF)
		}
		broken = err != nil
	}
}

// signal sends a signal to what is in the foreground of the session.
func (c *command) signal(sig syscall.Signal) {
	if c.terms != nil {
		if group, err := foreground(c.terms); err == nil && group > 1 {
			_ = syscall.Kill(-group, sig)
			return
		}
	}
	c.reaper.signal(c.process, sig)
}

// copy sends what the command writes; false if the stream takes no more.
func (o *output) copy(s *execStream) bool {
	buffer := make([]byte, chunk)
	for {
		n, err := o.from.Read(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			// The deadline may be over because we were kept from reading.
			n, err = readNow(o.from, buffer)
		}
		if n > 0 {
			if s.send(o.message(buffer[:n])) != nil {
				return false
			}
			o.offset += uint64(n)
			o.extend()
		}
		if err != nil {
			return true // the end of a pipe, of a terminal, or of our patience
		}
	}
}

// drain lets copying end when an ended command's output is over. Something
// that has left the command's group may hold a pipe open, so its end is no
// measure.
func (o *output) drain() {
	o.ended.Store(true)
	o.extend()
}

// extend renews the patience of drain: only silence counts, not the time that
// a slow reader takes.
func (o *output) extend() {
	if o.ended.Load() {
		_ = o.from.SetReadDeadline(time.Now().Add(lastOutput))
	}
}

func (o *output) message(data []byte) *execpb.Output {
	out := &execpb.Output{Offset: o.offset, Kind: &execpb.Output_Stdout{Stdout: data}}
	if o.stderr {
		out.Kind = &execpb.Output_Stderr{Stderr: data}
	}
	return out
}
