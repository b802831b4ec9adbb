package entrypoint

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"waypoint/api/logspb"
	"waypoint/internal/wait"
)

// text joins what a node got of one source, parts of lines put together.
func (h *home) text(source logspb.Source) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b strings.Builder
	for _, l := range h.lines {
		if l.GetSource() == source {
			b.Write(l.GetData())
			if !l.GetPartial() {
				b.WriteByte('\n')
			}
		}
	}
	return b.String()
}

func TestOutputIsLoggedAndPassedOnUnchanged(t *testing.T) {
	h := homes(t, 1)
	long := filepath.Join(t.TempDir(), "long")
	check(t, os.WriteFile(long, bytes.Repeat([]byte("x"), 3*maxLine+10), 0o600))
	h[0].set(func() { h[0].config = config(1) })
	p := start(t, options{servers: h}, "sh", "-c", `
		echo one; echo two >&2; echo; printf 'caf\351\n'; cat `+long+`; echo; printf 'no newline'`)
	if got := p.code(); got != 0 {
		t.Fatal(got)
	}
	want := "one\n\ncaf\xe9\n" + strings.Repeat("x", 3*maxLine+10) + "\nno newline"
	if p.out.String() != want || !strings.Contains(p.err.String(), "two\n") {
		t.Errorf("passed on %d bytes, want %d", len(p.out.String()), len(want))
	}
	if got := h[0].text(logspb.Source_SOURCE_STDOUT); got != want {
		t.Errorf("logged %d bytes, want %d: %.100q", len(got), len(want), got)
	}
	if got := h[0].text(logspb.Source_SOURCE_STDERR); got != "two\n" {
		t.Errorf("logged %q", got)
	}
	for i, l := range h[0].lines {
		if l.GetSeq() != uint64(i+1) || len(l.GetData()) > maxLine || l.GetTime() == 0 {
			t.Fatalf("line %d: seq %d, %d bytes", i, l.GetSeq(), len(l.GetData()))
		}
	}
}

func TestUnfinishedLineIsLoggedWhileItWaits(t *testing.T) {
	h := homes(t, 1)
	start(t, options{servers: h, wait: time.Millisecond}, "sh", "-c", `printf 'name: '; sleep 60`)
	h[0].until("the prompt", func() bool {
		for _, l := range h[0].lines {
			if string(l.GetData()) == "name: " && l.GetPartial() {
				return true
			}
		}
		return false
	})
}

func TestLogsGoOnOnAnotherNodeWithoutDuplicates(t *testing.T) {
	h := homes(t, 2)
	go2 := filepath.Join(t.TempDir(), "fifo")
	check(t, syscall.Mkfifo(go2, 0o600))
	start(t, options{servers: h, wait: time.Millisecond}, "sh", "-c", `
		for i in 1 2 3 4 5; do echo $i; done; read x <`+go2+`; for i in 6 7 8; do echo $i; done; sleep 60`)
	from := homeOf(t, h, 0)
	from.until("five lines", func() bool { return len(from.lines) >= 5 })
	to := h[0]
	if from == to {
		to = h[1]
	}
	var last uint64
	from.set(func() { last = from.lines[len(from.lines)-1].GetSeq() })
	to.set(func() { to.after = last - 2 })
	from.server.Stop()
	check(t, os.WriteFile(go2, []byte("go\n"), 0o600))
	to.until("the rest", func() bool { return len(to.lines) >= 5 })
	to.set(func() {
		for i, l := range to.lines {
			if l.GetSeq() != last-1+uint64(i) {
				t.Errorf("line %d has seq %d, want %d", i, l.GetSeq(), last-1+uint64(i))
			}
		}
		if to.dropped != 0 {
			t.Errorf("%d lines lost", to.dropped)
		}
	})
}

func TestWhatTheRingLostIsCounted(t *testing.T) {
	h := homes(t, 1)
	h[0].set(func() { h[0].refuse = fmt.Errorf("later") })
	p := start(t, options{servers: h, wait: time.Millisecond, env: []string{EnvLogBytes + "=4096"}}, "sh", "-c", `
		i=0; while [ $i -lt 500 ]; do echo "line $i"; i=$((i+1)); done; echo all; sleep 60`)
	p.prints("all")
	h[0].set(func() { h[0].refuse = nil })
	h[0].until("the end of the ring", func() bool {
		n := len(h[0].lines)
		return n > 0 && string(h[0].lines[n-1].GetData()) == "all"
	})
	h[0].set(func() {
		if got, want := h[0].dropped+uint64(len(h[0].lines)), h[0].lines[len(h[0].lines)-1].GetSeq(); got != want || h[0].dropped == 0 {
			t.Errorf("%d lost and %d sent of %d", h[0].dropped, len(h[0].lines), want)
		}
	})
}

func TestOutputThatIsReadSlowlyIsNotLostAtTheEnd(t *testing.T) {
	t.Parallel()
	const size = 120_000 // more than the last pipe holds
	for _, patient := range []bool{true, false} {
		h := homes(t, 1)
		h[0].set(func() { h[0].config = config(1) })
		from, to, err := os.Pipe()
		check(t, err)
		defer from.Close()
		p := start(t, options{servers: h, grace: patience, stdout: to}, "sh", "-c", fmt.Sprintf("head -c %d /dev/zero; exit 3", size))
		to.Close()
		h[0].until("the child's end", func() bool { return h[0].child.GetExited() })
		select {
		case <-p.exited:
			t.Fatal("it ended with output left")
		case <-time.After(3 * time.Second / 2): // longer than it waits for output that does not move
		}
		if !patient {
			p.signal(syscall.SIGTERM)
		} else if got, err := io.ReadAll(from); err != nil || len(got) != size {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if got := p.code(); got != 3 {
			t.Errorf("exit status %d", got)
		}
	}
}

func TestOutputComesBackWithItsReader(t *testing.T) {
	h := homes(t, 1)
	h[0].set(func() { h[0].config = config(1) })
	path := filepath.Join(t.TempDir(), "fifo")
	check(t, syscall.Mkfifo(path, 0o600))
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	check(t, err)
	to, err := os.OpenFile(path, os.O_WRONLY, 0)
	check(t, err)
	p := start(t, options{servers: h, stdout: to}, "sh", "-c", `
		trap "echo two" USR1; trap "echo three" USR2; trap "exit 0" TERM
		echo one; while :; do sleep 60 & wait $!; done`)
	to.Close()
	one := make([]byte, 4)
	wait.For(t, patience, "the first line", func() bool { n, _ := reader.Read(one); return n == 4 })
	check(t, reader.Close())
	logged := func(times int) { // the shell may have a word of its own to say after it
		h[0].until("two", func() bool {
			n := 0
			for _, l := range h[0].lines {
				if string(l.GetData()) == "two" {
					n++
				}
			}
			return n == times
		})
	}
	p.signal(syscall.SIGUSR1)
	logged(1) // and written to nobody
	p.signal(syscall.SIGUSR1)
	logged(2)
	reader, err = os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	check(t, err)
	defer reader.Close()
	p.signal(syscall.SIGUSR2)
	three := make([]byte, 64)
	wait.For(t, patience, "output for the new reader", func() bool {
		n, _ := reader.Read(three)
		return strings.Contains(string(three[:max(n, 0)]), "three")
	})
}

func TestDefectInTheLogCostsTheLogOnly(t *testing.T) {
	from, to, err := os.Pipe()
	check(t, err)
	defer from.Close()
	o, err := openOutputs(&logbook{}, to, to) // which panics
	check(t, err)
	_, err = o.stdout.WriteString("one\ntwo\n")
	check(t, err)
	o.finish(patience, patience, nil)
	check(t, to.Close())
	if got, err := io.ReadAll(from); err != nil || string(got) != "one\ntwo\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestWordsAfterTheLastDoNoHarm(t *testing.T) {
	var out wait.Buffer
	q := newQuietly(&out)
	fmt.Fprint(q, "first")
	q.finish(patience)
	fmt.Fprint(q, "late")
	if out.String() != "first" {
		t.Errorf("%q", out.String())
	}
}

func TestTerminalStaysATerminal(t *testing.T) {
	controller, terminal, err := openPTY()
	check(t, err)
	defer controller.Close()
	h := homes(t, 1)
	cmd := exec.Command(os.Args[0], asEntrypoint, "sh", "-c", `
		[ -t 0 ] && [ -t 1 ] && [ ! -t 2 ] && echo terminal; read x && echo "read $x"`)
	cmd.Env = options{servers: h, wait: time.Millisecond}.environ()
	cmd.Stdin, cmd.Stdout = terminal, terminal
	var stderr wait.Buffer
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	check(t, cmd.Start())
	terminal.Close()
	var out wait.Buffer
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		for {
			b := make([]byte, 1024)
			n, err := controller.Read(b)
			_, _ = out.Write(b[:n])
			if err != nil {
				return
			}
		}
	}()
	wait.For(t, patience, "the terminal", func() bool { return strings.Contains(out.String(), "terminal") })
	_, err = controller.WriteString("typed\n")
	check(t, err)
	if err := cmd.Wait(); err != nil {
		t.Error(err, stderr.String())
	}
	<-copied
	if !strings.Contains(out.String(), "read typed") {
		t.Errorf("%q", out.String())
	}
}

func TestOnlyASmallBatchWaitsForMore(t *testing.T) {
	line := func(n int) *logspb.Line { return &logspb.Line{Data: make([]byte, n)} }
	for want, batch := range map[bool][]*logspb.Line{
		false: {line(100), line(200)},
		true:  {line(6 << 10), line(6 << 10), line(6 << 10)}, // the next one did not fit
	} {
		if got := full(batch); got != want {
			t.Errorf("full is %v of %d lines", got, len(batch))
		}
	}
	if !full(make([]*logspb.Line, batchLines)) {
		t.Error("most lines are not full")
	}
}

func TestCutterCutsAndFlushes(t *testing.T) {
	book := newLogbook(1 << 20)
	c := &cutter{book: book, source: logspb.Source_SOURCE_STDOUT}
	c.take([]byte("a\nb"))
	c.take([]byte("c\n"))
	c.take([]byte("d"))
	c.flush()
	c.flush()
	c.take(bytes.Repeat([]byte("y"), maxLine))
	c.take([]byte("\nz\n"))
	c.take(append(bytes.Repeat([]byte("w"), maxLine+1), '\n'))
	lines, _, err := book.ring.Reader(0).TryNext(0, 0)
	check(t, err)
	var got []string
	for _, l := range lines {
		got = append(got, fmt.Sprintf("%d%.1s%t", len(l.GetData()), l.GetData(), l.GetPartial()))
	}
	want := fmt.Sprintf("[1afalse 2bfalse 1dtrue %dyfalse 1zfalse %dwtrue 1wfalse]", maxLine, maxLine)
	if fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}
