package command

import (
	"os"
	"strings"
	"testing"
)

func TestEveryCommandExplainsItselfWithExamplesThatWork(t *testing.T) {
	for _, e := range commands() {
		cmd := e.build()
		if cmd.Synopsis == "" || len(cmd.Synopsis) > 60 || strings.HasSuffix(cmd.Synopsis, ".") {
			t.Errorf("%s: synopsis %q", e.name, cmd.Synopsis)
		}
		if cmd.Run == nil || cmd.Flags == nil {
			t.Errorf("%s is incomplete", e.name)
		}
		found := false
		for _, line := range strings.Split(strings.TrimSpace(cmd.Examples), "\n") {
			words := strings.Fields(strings.TrimSpace(line))
			if len(words) < 2 || words[0] != "waypoint" {
				t.Errorf("%s: example %q is no command line of waypoint", e.name, line)
				continue
			}
			rest, ok := strings.CutPrefix(strings.Join(words[1:], " "), e.name)
			found = found || ok
			if !ok {
				t.Errorf("%s: example %q is of another command", e.name, line)
				continue
			}
			// A member of a group is the group's best example.
			if len(membersOf(e.name)) > 0 && len(strings.Fields(rest)) > 0 && !strings.HasPrefix(strings.TrimSpace(rest), "-") {
				continue
			}
			if _, err := e.build().Flags.parse(strings.Fields(rest), cmd.Verbatim); err != nil {
				t.Errorf("%s: example %q: %v", e.name, line, err)
			}
		}
		if !found {
			t.Errorf("%s has no example", e.name)
		}
	}
}

func TestHelpIsNoFailureOnStandardOutput(t *testing.T) {
	w := newWorld(t)
	for _, e := range commands() {
		for _, flag := range []string{"-h", "-help", "--help"} {
			args := append(strings.Fields(e.name), flag)
			code, stdout, stderr := w.run(args...)
			if code != 0 || stderr != "" || !strings.HasPrefix(stdout, "Usage: waypoint "+e.name) || !strings.Contains(stdout, "Examples:\n  waypoint ") {
				t.Errorf("waypoint %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
			}
			for _, line := range strings.Split(stdout, "\n") {
				if len(line) > 120 {
					t.Errorf("waypoint %s: a line of %d characters: %s", strings.Join(args, " "), len(line), line)
				}
			}
		}
	}
}

func TestOverviewShowsEveryCommandInItsGroup(t *testing.T) {
	w := newWorld(t)
	code, bare, _ := w.run()
	if code != 0 {
		t.Errorf("waypoint alone: exit code %d", code)
	}
	for _, flag := range []string{"-h", "--help"} {
		if code, stdout, _ := w.run(flag); code != 0 || stdout != bare {
			t.Errorf("waypoint %s: exit code %d and another text than waypoint alone:\n%s", flag, code, stdout)
		}
	}
	for _, e := range commands() {
		top, _, _ := strings.Cut(e.name, " ")
		if !strings.Contains(bare, "\n  "+top+" ") {
			t.Errorf("%s is not in the overview", top)
		}
	}
	if code, stdout, _ := w.run("--version"); code != 0 || !strings.HasPrefix(stdout, "waypoint ") {
		t.Errorf("--version: exit code %d: %s", code, stdout)
	}
}

func TestMisuseIsExitCodeTwo(t *testing.T) {
	w := newWorld(t)
	cases := []struct {
		args []string
		says string
	}{
		{[]string{"deploiment"}, `no command "deploiment"`},
		{[]string{"-json", "status"}, "flags stand behind the command"},
		{[]string{"config"}, "set, get, delete, policy"},
		{[]string{"config", "put"}, `no command "config put"`},
		{[]string{"config", "policy", "-reload=never"}, "restart, signal, next-start"},
		{[]string{"config", "policy", "web"}, `unexpected argument "web"`},
		{[]string{"operator", "raft"}, "list-peers"},
		{[]string{"operator", "raft", "remove-peer"}, "NAME or ID"},
		{[]string{"status", "-no-such-flag"}, "no-such-flag"},
		{[]string{"status", "everything"}, `unexpected argument "everything"`},
		{[]string{"status", "-timeout=soon"}, "soon"},
		{[]string{"job", "inspect"}, "ID is missing"},
		{[]string{"job", "inspect", "a", "b"}, `unexpected argument "b"`},
		{[]string{"exec"}, "the command is missing"},
		{[]string{"login", "unexpected"}, "unexpected argument"},
		{[]string{"token", "create", "-kind=node"}, "a user or a runner"},
		{[]string{"token", "revoke", "wp1_abc"}, "a token's text"},
		{[]string{"server", "run"}, "-data-dir"},
		{[]string{"server", "migrate-log", "-to=wal"}, "-data-dir"},
		{[]string{"server", "migrate-log", "-data-dir=x", "-to=paper"}, "-to=paper"},
		{[]string{"server", "run", "-log-level=loud", "-data-dir=x"}, "-log-level"},
		{[]string{"operator", "token", "recover"}, "-data-dir is missing"},
		{[]string{"runner", "agent", "-slots=0"}, "at least one slot"},
		{[]string{"runner", "agent", "-label=zone"}, "want KEY=VALUE"},
		{[]string{"job", "list", "-state=done"}, "no such state"},
	}
	for _, c := range cases {
		w.fails(codeUsage, c.says, c.args...)
	}
}

func TestFlagsMayStandBehindArguments(t *testing.T) {
	f := newFlags()
	var asJSON bool
	f.jsonFlag(&asJSON)
	rest, err := f.parse([]string{"a", "-json", "b", "--", "-c"}, false)
	if err != nil || !asJSON || strings.Join(rest, " ") != "a b -c" {
		t.Errorf("got %q, json %v, %v", rest, asJSON, err)
	}
	f = newFlags()
	asJSON = false
	f.jsonFlag(&asJSON)
	rest, err = f.parse([]string{"a", "-json"}, true)
	if err != nil || asJSON || strings.Join(rest, " ") != "a -json" {
		t.Errorf("verbatim: got %q, json %v, %v", rest, asJSON, err)
	}
}

func TestCompletionKnowsCommandsAndFlags(t *testing.T) {
	for line, want := range map[string]string{
		"waypoint deployment l":                 "list",
		"waypoint config set -works":            "-workspace",
		"waypoint server run -profile w":        "wan",
		"waypoint server migrate-log -to b":     "bolt",
		"waypoint operator raft list-peers -st": "-stale",
		"waypoint config policy -reload n":      "next-start",
	} {
		t.Setenv("COMP_LINE", line)
		w := newWorld(t)
		w.Environ = append(w.Environ, "COMP_LINE="+line)
		// The library writes to the process's own standard output.
		stdout := capture(t, func() { Main(t.Context(), w.Env, nil) })
		if strings.TrimSpace(stdout) != want {
			t.Errorf("%q is completed with %q, want %q", line, stdout, want)
		}
	}
}

// capture is what fn writes to the process's standard output.
func capture(t *testing.T, fn func()) string {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	before := os.Stdout
	os.Stdout = file
	defer func() { os.Stdout = before }()
	fn()
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
