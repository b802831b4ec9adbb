package entrypoint

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"waypoint/api/errpb"
	"waypoint/api/execpb"
	"waypoint/errs"
	"waypoint/internal/wait"
)

// attachedChild starts an entrypoint whose child has configuration A=1.
func attachedChild(t *testing.T) (*home, *program) {
	t.Helper()
	h := homes(t, 1)
	h[0].set(func() { h[0].config = config(1, "A", "1") })
	p := start(t, options{servers: h}, "sh", "-c", loyal)
	p.prints("A=1")
	return h[0], p
}

func shell(script string) *execpb.Open {
	return &execpb.Open{Argv: []string{"sh", "-c", script}}
}

func TestSessionThatIsSlowToStartHoldsUpNoOther(t *testing.T) {
	r := &reaper{started: map[int]*process{}}
	e := newExecs(&uplink{instance: "i"}, r, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	link := &execLink{ctx: ctx, cancel: cancel}
	open := &execpb.Open{Argv: []string{t.TempDir() + "/missing"}}
	r.mu.Lock() // it cannot start
	slow := make(chan error, 1)
	go func() {
		_, err := e.session(ctx, "slow", open, link)
		slow <- err
	}()
	wait.For(t, patience, "the session to start", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.byID) == 1
	})
	if _, err := e.session(ctx, "slow", open, link); !errs.Is(err, errs.AlreadyExists) {
		t.Errorf("the same once more: %v", err)
	}
	if _, err := e.session(ctx, "slow", &execpb.Open{Resume: &execpb.Resume{}}, link); !errs.Is(err, errs.NotFound) {
		t.Errorf("it is resumed: %v", err)
	}
	if _, err := e.session(ctx, "other", &execpb.Open{}, link); !errs.Is(err, errs.Invalid) {
		t.Errorf("another one: %v", err)
	}
	r.mu.Unlock()
	if err := <-slow; !errs.Is(err, errs.Invalid) {
		t.Errorf("started: %v", err)
	}
	if len(e.byID) != 0 || len(e.running) != 0 {
		t.Error("a session is left")
	}
	e.tidy.Stop()
}

func TestExecRunsInTheAppsEnvironment(t *testing.T) {
	h, _ := attachedChild(t)
	s := h.exec(shell(`echo "A=$A IMAGE=$FROM_IMAGE"; env | grep -c ` + ownPrefix + `; echo oops >&2; exit 3`))
	if got := s.exit(); got != 3 {
		t.Errorf("exit code %d", got)
	}
	if string(s.stdout) != "A=1 IMAGE=image\n0\n" || string(s.stderr) != "oops\n" {
		t.Errorf("stdout %q, stderr %q", s.stdout, s.stderr)
	}
	if s.opened.GetPid() == 0 || s.opened.GetInstanceId() != h.hellos[0].GetInstanceId() {
		t.Errorf("opened %v", s.opened)
	}
}

func TestExecTakesInputToItsEnd(t *testing.T) {
	h, _ := attachedChild(t)
	open := shell(`wc -c`)
	open.Stdin = true
	s := h.exec(open)
	for range 100 {
		s.input(strings.Repeat("x", 10_000))
	}
	s.send(&execpb.Input{Kind: &execpb.Input_StdinEof{StdinEof: true}})
	if got := s.exit(); got != 0 || strings.TrimSpace(string(s.stdout)) != "1000000" {
		t.Errorf("exit code %d, output %q", got, s.stdout)
	}
	s = h.exec(shell(`cat; echo end`)) // without input: end of file at once
	if got := s.exit(); got != 0 || string(s.stdout) != "end\n" {
		t.Errorf("exit code %d, output %q", got, s.stdout)
	}
}

func TestExecLosesNothingOfALargeOutput(t *testing.T) {
	h, _ := attachedChild(t)
	s := h.exec(shell(`head -c 5000000 /dev/zero | tr '\0' y; exit 1`))
	if got := s.exit(); got != 1 || len(s.stdout) != 5_000_000 {
		t.Errorf("exit code %d, %d bytes", got, len(s.stdout))
	}
}

func TestExecOnATerminal(t *testing.T) {
	h, _ := attachedChild(t)
	open := shell(`stty size; echo "TERM=$TERM"; echo ready
		while read line; do stty size; echo "got $line"; done; echo eof; exit 2`)
	open.Tty, open.Term, open.Stdin = true, "xterm-test", true
	open.Size = &execpb.WindowSize{Rows: 33, Columns: 101}
	s := h.exec(open)
	has := func(text string) func(string) bool {
		return func(out string) bool { return strings.Contains(out, text) }
	}
	s.reads(has("ready"))
	for _, want := range []string{"33 101", "TERM=xterm-test"} {
		if !strings.Contains(string(s.stdout), want) {
			t.Errorf("%q is not in %q", want, s.stdout)
		}
	}
	s.send(&execpb.Input{Kind: &execpb.Input_Size{Size: &execpb.WindowSize{Rows: 20, Columns: 70}}})
	s.input("hello\n")
	s.reads(has("got hello"))
	s.reads(has("20 70"))
	s.send(&execpb.Input{Kind: &execpb.Input_StdinEof{StdinEof: true}})
	if got := s.exit(); got != 2 || !strings.Contains(string(s.stdout), "eof") {
		t.Errorf("exit code %d, output %q", got, s.stdout)
	}
}

func TestExecInterruptedOnATerminal(t *testing.T) {
	h, _ := attachedChild(t)
	open := shell(`trap "exit 42" INT; echo ready; while :; do sleep 1; done`)
	open.Tty, open.Stdin = true, true
	s := h.exec(open)
	s.reads(func(out string) bool { return strings.Contains(out, "ready") })
	s.input("\x03")
	if got := s.exit(); got != 42 {
		t.Errorf("exit code %d", got)
	}
}

func TestExecPassesSignals(t *testing.T) {
	h, _ := attachedChild(t)
	s := h.exec(shell(`trap "exit 42" USR1; echo ready; while :; do sleep 60 & wait $!; done`))
	s.reads(func(out string) bool { return out == "ready\n" })
	s.send(&execpb.Input{Kind: &execpb.Input_Signal{Signal: int32(syscall.SIGUSR1)}})
	if got := s.exit(); got != 42 {
		t.Errorf("exit code %d", got)
	}
	s = h.exec(shell(`kill -SEGV $$`))
	if got := s.exit(); got != 128+int(syscall.SIGSEGV) {
		t.Errorf("exit code %d", got)
	}
}

func TestClosedExecEndsItsProcesses(t *testing.T) {
	h, _ := attachedChild(t)
	for _, tty := range []bool{false, true} {
		open := shell(`trap "" HUP TERM; sleep 600 & echo "$! $$ ready"; while :; do sleep 60; done`)
		open.Tty = tty
		s := h.exec(open)
		s.reads(func(out string) bool { return strings.Contains(out, "ready") })
		pids := strings.Fields(string(s.stdout))[:2]
		s.send(&execpb.Input{Kind: &execpb.Input_Close{Close: true}})
		if got := s.exit(); got != 137 && got != 129 {
			t.Errorf("exit code %d", got)
		}
		for _, pid := range pids {
			wait.For(t, patience, "process "+pid+" to end", func() bool { return !alive(pid) })
		}
	}
}

func TestExecOfALostNodeEndsAndTheChildStays(t *testing.T) {
	h, p := attachedChild(t)
	s := h.exec(shell(`echo "$$ ready"; sleep 600`))
	s.reads(func(out string) bool { return strings.Contains(out, "ready") })
	pid := strings.Fields(string(s.stdout))[0]
	h.server.Stop()
	wait.For(t, patience, "the command to end", func() bool { return !alive(pid) })
	if runs := p.runs(); len(runs) != 1 || !alive(strings.Fields(runs[0])[1]) {
		t.Errorf("child: %q", runs)
	}
}

func TestExecEndsWithItsStreamThoughItsInputIsNotRead(t *testing.T) {
	t.Parallel()
	h, _ := attachedChild(t)
	open := shell(`echo "$$ ready"; exec sleep 600`)
	open.Stdin = true
	s := h.exec(open)
	s.reads(func(out string) bool { return strings.Contains(out, "ready") })
	pid := strings.Fields(string(s.stdout))[0]
	for range 48 { // more than the pipe, its writer and the window hold
		s.input(strings.Repeat("x", 8<<10))
	}
	close(h.cut)
	wait.For(t, patience, "the command to end", func() bool { return !alive(pid) })
}

func TestHangUpEndsTheJobsOfAShell(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Fatalf("this test needs bash, as the build does: %v", err)
	}
	h, _ := attachedChild(t)
	s := h.exec(&execpb.Open{Argv: []string{"bash", "--norc", "-i"}, Tty: true, Stdin: true})
	s.input("sleep 600 &\n")
	s.input("echo job=$! ready\n")
	said := regexp.MustCompile(`job=(\d+) ready`)
	s.reads(said.MatchString)
	pid := said.FindStringSubmatch(string(s.stdout))[1]
	s.send(&execpb.Input{Kind: &execpb.Input_Close{Close: true}})
	s.exit()
	wait.For(t, patience/2, "the job to end", func() bool { return !alive(pid) })
}

func TestShellThatEndsLeavesNoJobs(t *testing.T) {
	t.Parallel()
	h, _ := attachedChild(t)
	s := h.exec(&execpb.Open{Argv: []string{"bash", "--norc", "-i"}, Tty: true, Stdin: true})
	s.input("sleep 600 &\n")
	s.input("echo job=$! ready\n")
	said := regexp.MustCompile(`job=(\d+) ready`)
	s.reads(said.MatchString)
	pid := said.FindStringSubmatch(string(s.stdout))[1]
	s.input("exit 3\n")
	if got := s.exit(); got != 3 {
		t.Errorf("exit code %d", got)
	}
	wait.For(t, patience/2, "the job to end", func() bool { return !alive(pid) })
}

func TestOutputThatOthersGoOnWritingEnds(t *testing.T) {
	t.Parallel()
	h, _ := attachedChild(t)
	for name, tt := range map[string]struct {
		ask    bool
		script string
	}{
		"by itself": {false, `while sleep 0.01; do echo x; done`},
		"a flood":   {false, `exec yes`},
		"on demand": {true, `exec yes`},
	} {
		open := shell(`setsid sh -c "echo left=\$\$; $0" & read -r x; exit 5`)
		open.Argv, open.Stdin = append(open.Argv, tt.script), true
		s := h.exec(open)
		said := regexp.MustCompile(`left=(\d+)\n`)
		s.reads(said.MatchString)
		pid, err := strconv.Atoi(said.FindStringSubmatch(string(s.stdout))[1])
		check(t, err)
		s.input("exit\n")
		began, limit := time.Now(), othersOutput+patience/2
		if tt.ask {
			wait.For(t, patience, "the command to end", func() bool { return !alive(fmt.Sprint(s.opened.GetPid())) })
			s.send(&execpb.Input{Kind: &execpb.Input_Close{Close: true}})
			limit = patience / 2
		}
		code := s.exit()
		took := time.Since(began)
		_ = syscall.Kill(pid, syscall.SIGKILL)
		if code != 5 || took > limit {
			t.Errorf("%s: exit code %d after %s", name, code, took)
		}
	}
}

func TestOutputOfAnEndedCommandIsReadHoweverLateWeAre(t *testing.T) {
	from, to, err := os.Pipe()
	check(t, err)
	defer from.Close()
	defer to.Close() // open: there is no end of file
	const size = 50_000
	_, err = to.Write(make([]byte, size))
	check(t, err)
	o := &output{from: from}
	until := time.Now().Add(time.Hour)
	o.until.Store(&until)
	check(t, from.SetReadDeadline(time.Now().Add(-time.Second)))
	s := newExecSession("s", "i", &execpb.Open{Resumable: true}, &command{outputs: []*output{o}}, nil)
	s.collect(0)
	if s.outputs[0].Len() != size {
		t.Errorf("%d bytes", s.outputs[0].Len())
	}
}

func TestPanicEndsTheSessionOnly(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	guarded(cancel, func() { panic("defect") })()
	if cause := context.Cause(ctx); cause == nil || !strings.Contains(cause.Error(), "defect") {
		t.Errorf("cause is %v", cause)
	}
}

func TestExecRefusesWhatItCannotStart(t *testing.T) {
	h, _ := attachedChild(t)
	for name, tt := range map[string]struct {
		argv []string
		want errpb.Kind
	}{
		"unknown command": {[]string{"no-such-command"}, errs.NotFound},
		"no command":      {nil, errs.Invalid},
		"a folder":        {[]string{"/tmp"}, errs.Invalid},
	} {
		s := h.exec(&execpb.Open{Argv: tt.argv})
		if got := s.next().GetRefused(); got.GetKind() != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestManySessionsKeepTheirExitCodes(t *testing.T) {
	h, _ := attachedChild(t)
	var sessions sync.WaitGroup
	for i := range 12 {
		s := h.exec(shell(fmt.Sprintf("echo %d; (sh -c 'exit 9' &); exit %d", i, i)))
		sessions.Go(func() {
			for {
				up, err := s.stream.Recv()
				if err != nil {
					t.Error(err)
					return
				}
				if exit := up.GetOutput().GetExit(); exit != nil {
					if int(exit.GetCode()) != i {
						t.Errorf("session %d ended with %d", i, exit.GetCode())
					}
					return
				}
			}
		})
	}
	sessions.Wait()
}

func TestExecEndsDespiteAProcessThatKeepsItsOutputOpen(t *testing.T) {
	h, _ := attachedChild(t)
	s := h.exec(shell(`setsid sleep 30 & echo $!; exit 5`))
	began := time.Now()
	if got := s.exit(); got != 5 || time.Since(began) > patience/2 {
		t.Errorf("exit code %d after %s", got, time.Since(began))
	}
}
