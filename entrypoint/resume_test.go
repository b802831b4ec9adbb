package entrypoint

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"waypoint/api/entrypointpb"
	"waypoint/api/errpb"
	"waypoint/api/execpb"
	"waypoint/errs"
	"waypoint/internal/wait"
)

// resumable is a command with input in a session that outlives its streams.
func resumable(script string) *execpb.Open {
	open := shell(script)
	open.Resumable, open.Stdin, open.TokenId = true, true, "alice"
	return open
}

// again asks the entrypoint to go on with a session, over a new stream.
func (h *home) again(open *execpb.Open, from *execpb.Resume) *session {
	h.t.Helper()
	h.mu.Lock()
	taken := h.execs[open.GetSessionId()]
	h.mu.Unlock()
	h.say(&entrypointpb.Down{Kind: &entrypointpb.Down_Exec{Exec: &entrypointpb.ExecOpen{SessionId: open.GetSessionId()}}})
	select {
	case s := <-taken:
		resume := &execpb.Open{SessionId: open.GetSessionId(), Argv: open.GetArgv(), TokenId: open.GetTokenId(), Resume: from}
		check(h.t, s.Send(&execpb.Input{Kind: &execpb.Input_Open{Open: resume}}))
		return &session{t: h.t, stream: s}
	case <-time.After(patience):
		h.t.Fatal("nobody goes on with the session")
		return nil
	}
}

// breakStreams ends all exec streams of the home, as its end would.
func (h *home) breakStreams() {
	h.set(func() {
		close(h.cut)
		h.cut = make(chan struct{})
	})
}

func (s *session) ack(exit bool) {
	s.t.Helper()
	s.send(&execpb.Input{Kind: &execpb.Input_Ack{Ack: &execpb.Ack{
		Stdout: uint64(len(s.stdout)), Stderr: uint64(len(s.stderr)), Exit: exit,
	}}})
}

func (s *session) at(offset uint64, data string) {
	s.t.Helper()
	s.send(&execpb.Input{Kind: &execpb.Input_Stdin{Stdin: []byte(data)}, Offset: offset})
}

// follow takes over what an earlier stream has brought.
func (s *session) follow(earlier *session) *session {
	s.stdout, s.stderr = earlier.stdout, earlier.stderr
	return s
}

func (s *session) received() *execpb.Resume {
	return &execpb.Resume{Stdout: uint64(len(s.stdout)), Stderr: uint64(len(s.stderr))}
}

// refusal receives until the session is refused.
func (s *session) refusal() *errpb.Error {
	s.t.Helper()
	for {
		out := s.next()
		if out.GetExit() != nil {
			s.t.Fatal("the command has ended instead")
		}
		if out.GetRefused() != nil {
			return out.GetRefused()
		}
	}
}

func TestSessionGoesOnAfterItsStreamIsLost(t *testing.T) {
	t.Parallel()
	h, _ := attachedChild(t)
	open := resumable(`echo $$; while read -r line; do echo "got $line"; done; echo end; exit 7`)
	s := h.exec(open)
	s.reads(func(out string) bool { return strings.HasSuffix(out, "\n") })
	pid := strings.TrimSpace(string(s.stdout))
	s.at(0, "one\ntwo\nthr")
	s.reads(func(out string) bool { return strings.HasSuffix(out, "got two\n") })
	if !s.opened.GetResumable() || s.opened.GetStdinOffset() != 0 {
		t.Errorf("opened %v", s.opened)
	}
	h.breakStreams()
	later := h.again(open, s.received()).follow(s)
	later.next()
	if later.opened.GetStdinOffset() != 11 || fmt.Sprint(later.opened.GetPid()) != pid {
		t.Errorf("opened %v, want the process %s", later.opened, pid)
	}
	later.at(4, "two\nthree\nfo") // partly known already
	later.at(16, "ur\n")
	later.send(&execpb.Input{Kind: &execpb.Input_StdinEof{StdinEof: true}})
	later.send(&execpb.Input{Kind: &execpb.Input_StdinEof{StdinEof: true}})
	if got := later.exit(); got != 7 {
		t.Errorf("exit code %d", got)
	}
	want := pid + "\ngot one\ngot two\ngot three\ngot four\nend\n"
	if string(later.stdout) != want {
		t.Errorf("%q, want %q", later.stdout, want)
	}
}

func TestLargeOutputSurvivesManyStreams(t *testing.T) {
	t.Parallel()
	h, _ := attachedChild(t)
	const size = 64 << 20
	file := t.TempDir() + "/sum"
	open := resumable(fmt.Sprintf(`exec 3>&1; head -c %d /dev/urandom | tee /dev/fd/3 | sha256sum >"$0"`, size))
	open.Argv = append(open.Argv, file)
	s := h.exec(open)
	sum, total, nextCut, acked := sha256.New(), uint64(0), uint64(3<<20), uint64(0)
	code := -1
	for code < 0 {
		up, err := s.stream.Recv()
		check(t, err)
		switch kind := up.GetOutput().GetKind().(type) {
		case *execpb.Output_Stdout:
			if up.GetOutput().GetOffset() != total {
				t.Fatalf("byte %d after %d", up.GetOutput().GetOffset(), total)
			}
			sum.Write(kind.Stdout)
			total += uint64(len(kind.Stdout))
		case *execpb.Output_Refused:
			t.Fatalf("refused: %v", kind.Refused)
		case *execpb.Output_Exit:
			code = int(kind.Exit.GetCode())
		}
		if total-acked >= 64<<10 {
			acked = total
			s.send(&execpb.Input{Kind: &execpb.Input_Ack{Ack: &execpb.Ack{Stdout: acked}}})
		}
		if total >= nextCut {
			nextCut += 3 << 20
			h.breakStreams()
			s = h.again(open, &execpb.Resume{Stdout: total})
		}
	}
	if code != 0 || total != size {
		t.Fatalf("exit code %d, %d bytes", code, total)
	}
	want, err := os.ReadFile(file)
	check(t, err)
	if !strings.HasPrefix(string(want), fmt.Sprintf("%x", sum.Sum(nil))) {
		t.Errorf("got %x, want %s", sum.Sum(nil), want)
	}
}

func TestResumeAcknowledgesWhatHasCome(t *testing.T) {
	t.Parallel()
	h, _ := attachedChild(t)
	open := resumable(`head -c 600000 /dev/zero`)
	s := h.exec(open)
	for len(s.stdout) < window {
		s.next()
	}
	for len(s.stdout) < 600_000 { // the acknowledgement of each window is lost
		h.breakStreams()
		s = h.again(open, s.received()).follow(s)
		for before := len(s.stdout); len(s.stdout) < min(before+window, 600_000); {
			s.next()
		}
	}
	if code := s.exit(); code != 0 || len(s.stdout) != 600_000 {
		t.Errorf("exit code %d, %d bytes", code, len(s.stdout))
	}
}

func TestNewerStreamReplacesAnOlderOne(t *testing.T) {
	t.Parallel()
	h, _ := attachedChild(t)
	open := resumable(`echo ready; read -r line; echo "$line"`)
	s := h.exec(open)
	s.reads(func(out string) bool { return out == "ready\n" })
	later := h.again(open, &execpb.Resume{}) // the old one stands
	later.reads(func(out string) bool { return out == "ready\n" })
	if _, err := s.stream.Recv(); err == nil {
		t.Error("the old stream goes on")
	}
	later.at(0, "hello\n")
	later.send(&execpb.Input{Kind: &execpb.Input_StdinEof{StdinEof: true}})
	if code := later.exit(); code != 0 || string(later.stdout) != "ready\nhello\n" {
		t.Errorf("exit code %d, %q", code, later.stdout)
	}
}

func TestExitWaitsForItsAcknowledgement(t *testing.T) {
	t.Parallel()
	h, _ := attachedChild(t)
	open := resumable(`echo bye; echo oops >&2; exit 5`)
	s := h.exec(open)
	if s.exit() != 5 {
		t.Error("another exit code")
	}
	h.breakStreams() // before the exit was acknowledged
	s = h.again(open, &execpb.Resume{})
	if s.exit() != 5 || string(s.stdout) != "bye\n" || string(s.stderr) != "oops\n" {
		t.Errorf("%q, %q", s.stdout, s.stderr)
	}
	s.ack(true)
	wait.For(t, patience, "the session to be forgotten", func() bool {
		return h.again(open, &execpb.Resume{}).next().GetRefused().GetKind() == errs.NotFound
	})
}

func TestExitIsKeptLongerThanALossMayGoUnnoticed(t *testing.T) {
	t.Parallel()
	h, _ := attachedChild(t)
	open := resumable(`echo bye; exit 5`)
	s := h.exec(open)
	if s.exit() != 5 {
		t.Error("another exit code")
	}
	h.breakStreams() // the other side does not notice for long
	lost := time.Now()
	wait.For(t, 3*patience, "the time that a running command has", func() bool { return time.Since(lost) > resumeWithin+patience/5 })
	s = h.again(open, &execpb.Resume{})
	if s.exit() != 5 || string(s.stdout) != "bye\n" {
		t.Errorf("%q", s.stdout)
	}
	s.ack(true)
}

func TestResumeIsRefusedToWhomItIsNotFor(t *testing.T) {
	t.Parallel()
	h, _ := attachedChild(t)
	open := resumable(`echo ready; cat`)
	s := h.exec(open)
	s.reads(func(out string) bool { return out == "ready\n" })
	s.ack(false)
	s.at(0, "x")
	s.reads(func(out string) bool { return out == "ready\nx" })
	other, command := proto(open), proto(open)
	other.TokenId, command.Argv = "bob", []string{"sh"}
	for name, tt := range map[string]struct {
		open *execpb.Open
		from *execpb.Resume
		want errpb.Kind
	}{
		"another token":          {other, &execpb.Resume{Stdout: 6}, errs.PermissionDenied},
		"another command":        {command, &execpb.Resume{Stdout: 6}, errs.Conflict},
		"what is not kept":       {open, &execpb.Resume{Stdout: 3}, errs.Conflict},
		"what has not been sent": {open, &execpb.Resume{Stdout: 100}, errs.Conflict},
	} {
		if got := h.again(tt.open, tt.from).next().GetRefused(); got.GetKind() != tt.want || !strings.Contains(got.GetMessage(), "cannot be resumed") {
			t.Errorf("%s: %v", name, got)
		}
	}
	// None of that has harmed it.
	s.at(1, "y")
	s.reads(func(out string) bool { return out == "ready\nxy" })

	plain := h.exec(&execpb.Open{Argv: []string{"sleep", "600"}})
	plain.next()
	first := &execpb.Open{SessionId: plain.opened.GetSessionId(), Argv: []string{"sleep", "600"}}
	if got := h.again(first, &execpb.Resume{}).next().GetRefused(); got.GetKind() != errs.Conflict {
		t.Errorf("a session that is not resumable: %v", got)
	}
	first.Resume = nil
	if got := h.again(first, nil).next().GetRefused(); got.GetKind() != errs.AlreadyExists {
		t.Errorf("a session that is there: %v", got)
	}
}

func proto(open *execpb.Open) *execpb.Open {
	return &execpb.Open{SessionId: open.GetSessionId(), Argv: open.GetArgv(), TokenId: open.GetTokenId()}
}

func TestMissingInputEndsTheSession(t *testing.T) {
	t.Parallel()
	h, _ := attachedChild(t)
	for name, break_ := range map[string]func(*session){
		"a gap":             func(s *session) { s.at(1, "x") },
		"a false receipt":   func(s *session) { s.send(&execpb.Input{Kind: &execpb.Input_Ack{Ack: &execpb.Ack{Stdout: 1 << 40}}}) },
		"more than allowed": func(s *session) { s.flood() },
	} {
		open := resumable(`echo $$ ready; exec sleep 600`)
		s := h.exec(open)
		s.reads(func(out string) bool { return strings.HasSuffix(out, "ready\n") })
		pid := strings.Fields(string(s.stdout))[0]
		break_(s)
		if got := s.refusal(); got.GetKind() != errs.Invalid && got.GetKind() != errs.Exhausted {
			t.Errorf("%s: %v", name, got)
		}
		wait.For(t, patience, name+" to end the command", func() bool { return !alive(pid) })
	}
}

// flood sends more input than the pipe and the window hold.
func (s *session) flood() {
	for at := uint64(0); at < 2*window; at += 8 << 10 {
		if s.stream.Send(&execpb.Input{Kind: &execpb.Input_Stdin{Stdin: bytes.Repeat([]byte("x"), 8<<10)}, Offset: at}) != nil {
			return
		}
	}
}

func TestInputIsAcknowledgedWhenTheCommandHasTakenIt(t *testing.T) {
	t.Parallel()
	h, _ := attachedChild(t)
	s := h.exec(resumable(`head -c 100000 >/dev/null; echo half; read -r x; exec sleep 600`))
	data := strings.Repeat("x", 20_000)
	for at := uint64(0); at < 100_000; at += 20_000 {
		s.at(at, data)
	}
	var acked uint64
	for acked < 100_000 { // the last bytes by time alone
		out := s.next()
		if out.GetStdinAck() > 0 {
			acked = out.GetStdinAck()
		}
	}
	if acked != 100_000 {
		t.Errorf("%d bytes acknowledged", acked)
	}
}

func TestOutputThatIsNotAcknowledgedThrottlesItsSessionOnly(t *testing.T) {
	t.Parallel()
	h, _ := attachedChild(t)
	slow := h.exec(resumable(`exec yes`))
	for len(slow.stdout) < window {
		slow.next()
	}
	if len(slow.stdout) > window+chunk {
		t.Errorf("%d bytes came unacknowledged", len(slow.stdout))
	}
	slow.send(&execpb.Input{Kind: &execpb.Input_Ping{Ping: true}})
	if out := slow.next(); !out.GetPong() {
		t.Errorf("got %v beyond the window", out)
	}
	quick := h.exec(resumable(`head -c 100000 /dev/zero`))
	if quick.exit() != 0 || len(quick.stdout) != 100_000 {
		t.Errorf("%d bytes of another session", len(quick.stdout))
	}
	slow.ack(false)
	before := len(slow.stdout)
	for len(slow.stdout) < before+window {
		slow.next()
	}
}

func TestSessionThatNobodyResumesEnds(t *testing.T) {
	t.Parallel()
	h, p := attachedChild(t)
	open := resumable(`echo $$ ready; sleep 600`)
	s := h.exec(open)
	s.reads(func(out string) bool { return strings.HasSuffix(out, "ready\n") })
	pid := strings.Fields(string(s.stdout))[0]
	lost := time.Now()
	h.breakStreams()
	wait.For(t, 3*patience, "the command to end", func() bool { return !alive(pid) })
	if took := time.Since(lost); took < resumeWithin {
		t.Errorf("the command has ended after %s already", took)
	}
	if got := h.again(open, s.received()).next().GetRefused(); got.GetKind() != errs.NotFound {
		t.Errorf("resumed late: %v", got)
	}
	if runs := p.runs(); len(runs) != 1 || !alive(strings.Fields(runs[0])[1]) {
		t.Errorf("child: %q", runs)
	}
}

func TestSessionsThatWaitCountUntilTheyAreForgotten(t *testing.T) {
	t.Parallel()
	h, _ := attachedChild(t)
	opens, sessions := make([]*execpb.Open, maxSessions), make([]*session, maxSessions)
	for i := range opens {
		opens[i] = resumable(`head -c 2000000 /dev/zero; read -r x`)
		sessions[i] = h.exec(opens[i])
		for len(sessions[i].stdout) < window {
			sessions[i].next()
		}
	}
	h.breakStreams()
	if got := h.exec(shell(`true`)).next().GetRefused(); got.GetKind() != errs.Exhausted {
		t.Errorf("one too many: %v", got)
	}
	for i, open := range opens {
		s := h.again(open, sessions[i].received()).follow(sessions[i])
		s.send(&execpb.Input{Kind: &execpb.Input_Close{Close: true}})
		s.ack(false)
		for s.next().GetExit() == nil {
			s.ack(false)
		}
		s.ack(true)
	}
	wait.For(t, patience, "room for another session", func() bool {
		return h.exec(shell(`true`)).next().GetOpened() != nil
	})
}

func TestResumeOnATerminal(t *testing.T) {
	t.Parallel()
	h, _ := attachedChild(t)
	open := resumable(`stty -echo; echo ready; while read -r line; do stty size; done; echo end`)
	open.Tty, open.Size = true, &execpb.WindowSize{Rows: 10, Columns: 20}
	s := h.exec(open)
	s.reads(func(out string) bool { return strings.Contains(out, "ready") })
	h.breakStreams()
	s = h.again(open, s.received()).follow(s)
	s.send(&execpb.Input{Kind: &execpb.Input_Size{Size: &execpb.WindowSize{Rows: 33, Columns: 44}}})
	s.at(0, "x\n")
	s.reads(func(out string) bool { return strings.Contains(out, "33 44") })
	s.send(&execpb.Input{Kind: &execpb.Input_StdinEof{StdinEof: true}})
	if s.exit() != 0 || !strings.Contains(string(s.stdout), "end") {
		t.Errorf("%q", s.stdout)
	}
}

func TestDisabledExecIsRefused(t *testing.T) {
	t.Parallel()
	h := homes(t, 1)
	h[0].set(func() { h[0].config = config(1, "A", "1") })
	p := start(t, options{servers: h, env: []string{EnvDisableExec + "=true"}}, "sh", "-c", loyal)
	p.prints("A=1")
	got := h[0].exec(shell(`true`)).next().GetRefused()
	if got.GetMessage() != "exec is disabled for this instance by WAYPOINT_ENTRYPOINT_DISABLE_EXEC" {
		t.Errorf("got %v", got)
	}
}
