package entrypoint

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"waypoint/internal/wait"
)

const (
	asEntrypoint = "as-entrypoint" // first argument of the test binary run as one
	asEcho       = "as-echo"       // and run as a program that says what signals it gets
	envWait      = "TEST_CONFIG_WAIT"
	patience     = 20 * time.Second
)

// TestMain lets the test binary be an entrypoint: a supervisor owns its
// process's signals and waits, so each test runs a real one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == asEntrypoint {
		os.Exit(beEntrypoint())
	}
	if len(os.Args) > 1 && os.Args[1] == asEcho {
		os.Exit(beEcho())
	}
	// What is ignored here would be in everything that a test starts, such as a
	// hangup under nohup. What is caught is not.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	os.Exit(m.Run())
}

func beEcho() int {
	got := make(chan os.Signal, 64)
	signal.Notify(got)
	fmt.Println("ready")
	for sig := range got {
		if sig != syscall.SIGURG {
			fmt.Printf("got %d.\n", sig)
		}
		if sig == syscall.SIGTERM {
			return 0
		}
	}
	return 1
}

func beEntrypoint() int {
	cfg := DefaultConfig()
	if d, err := time.ParseDuration(os.Getenv(envWait)); err == nil {
		cfg.ConfigWait = d
	}
	cfg, err := cfg.FromEnviron(os.Args[2:], os.Environ())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	cfg.disturb()
	cfg.Token = strings.Clone(cfg.Token)
	HideSecrets()
	return Run(context.Background(), cfg)
}

// options are how a test starts an entrypoint.
type options struct {
	servers []*home
	addrs   []string      // instead of servers
	ca      string        // instead of the servers'
	token   string        // instead of a good one; "-": none
	wait    time.Duration // for the first configuration; 0: patience
	grace   time.Duration // 0: 3 s
	env     []string
	stdin   *os.File
	stdout  *os.File // instead of the buffer
}

// program is a running entrypoint.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    wait.Buffer
	err    wait.Buffer
	exited chan struct{}
}

// start runs a command under an entrypoint.
func start(t *testing.T, o options, argv ...string) *program {
	t.Helper()
	p := &program{t: t, exited: make(chan struct{})}
	p.cmd = exec.Command(os.Args[0], append([]string{asEntrypoint}, argv...)...)
	p.cmd.Env = append(o.environ(), o.env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	if o.stdout != nil {
		p.cmd.Stdout = o.stdout
	}
	if o.stdin != nil {
		p.cmd.Stdin = o.stdin
	}
	p.cmd.WaitDelay = time.Second
	check(t, p.cmd.Start())
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // so that it ends its group as well
		select {
		case <-p.exited:
		case <-time.After(patience):
			_ = p.cmd.Process.Kill()
			<-p.exited
		}
		if t.Failed() {
			t.Logf("stdout: %.2000s\nstderr: %.4000s", p.out.String(), p.err.String())
		}
	})
	return p
}

func (o options) environ() []string {
	// Without the setting a program under the race detector ends a second late.
	env := []string{"PATH=" + os.Getenv("PATH"), "FROM_IMAGE=image", "GORACE=atexit_sleep_ms=0"}
	addrs, ca, token, configWait := o.addrs, o.ca, o.token, o.wait
	for _, h := range o.servers {
		addrs, ca = append(addrs, h.addr), h.pin
	}
	if o.ca != "" {
		ca = o.ca
	}
	if token == "" {
		token = "test-token"
	}
	if configWait == 0 {
		configWait = patience
	}
	if len(addrs) > 0 {
		env = append(env, EnvAddr+"="+strings.Join(addrs, ","), EnvCA+"="+ca)
	}
	if token != "-" {
		env = append(env, EnvToken+"="+token)
	}
	grace := o.grace
	if grace == 0 {
		// A shell that forks loses a signal now and then, so that what it
		// forked has to be killed.
		grace = 3 * time.Second
	}
	return append(env, EnvGrace+"="+grace.String(), envWait+"="+configWait.String())
}

// signal sends a signal to the entrypoint.
func (p *program) signal(sig syscall.Signal) {
	p.t.Helper()
	check(p.t, p.cmd.Process.Signal(sig))
}

// code waits for the entrypoint's end and returns its exit status.
func (p *program) code() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.t.Fatal("the entrypoint does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// prints waits until standard output holds a text.
func (p *program) prints(text string) {
	p.t.Helper()
	wait.For(p.t, patience, fmt.Sprintf("%q on standard output", text), func() bool {
		return strings.Contains(p.out.String(), text)
	})
}

// complains waits until standard error holds a text.
func (p *program) complains(text string) {
	p.t.Helper()
	wait.For(p.t, patience, fmt.Sprintf("%q on standard error", text), func() bool {
		return strings.Contains(p.err.String(), text)
	})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// alive tells whether a process exists and is not a zombie.
func alive(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}
