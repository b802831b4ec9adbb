package entrypoint

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestBooleansAreReadAndTheMalformedHaveARule(t *testing.T) {
	for text, want := range map[string][3]bool{ // disable, require, no exec
		"": {}, "0": {}, "false": {}, "1": {true, true, true}, "true": {true, true, true}, "T": {true, true, true},
		"yes": {false, false, true}, "2": {false, false, true},
	} {
		cfg, err := DefaultConfig().FromEnviron([]string{"true"}, []string{
			EnvDisable + "=" + text, EnvRequireConfig + "=" + text, EnvDisableExec + "=" + text,
		})
		check(t, err)
		if got := [3]bool{cfg.Disable, cfg.RequireConfig, cfg.DisableExec}; got != want {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
		if malformed := len(text) > 0 && !strings.Contains("0 false 1 true T", text); len(cfg.complaints) > 0 != malformed {
			t.Errorf("%q: complaints %q", text, cfg.complaints)
		}
	}
}

func TestOwnVariablesNeverReachTheChild(t *testing.T) {
	environ := []string{"A=1", EnvAddr + "=a:1", EnvCA + "=x", EnvDeployment + "=d", EnvToken + "=t", ownPrefix + "FUTURE=1", "WAYPOINT_OTHER=2"}
	cfg, err := DefaultConfig().FromEnviron([]string{"true"}, environ)
	check(t, err)
	if got := strings.Join(cfg.Env, " "); got != "A=1 WAYPOINT_OTHER=2" {
		t.Errorf("the child gets %s", got)
	}
}

func TestMalformedOptionsAreToldAndDoNoHarm(t *testing.T) {
	p := start(t, options{env: []string{EnvLogBytes + "=many", EnvDisableExec + "=off"}}, "sh", "-c", "echo started; exit 4")
	if got := p.code(); got != 4 || p.out.String() != "started\n" {
		t.Errorf("exit status %d, %q", got, p.out.String())
	}
	for _, want := range []string{EnvLogBytes + `: "many" is not a number of bytes`, EnvDisableExec + `: "off" is neither true nor false; taking it for true`} {
		if !strings.Contains(p.err.String(), want) {
			t.Errorf("no %q in %s", want, p.err.String())
		}
	}
}

func TestHelpListsEveryVariable(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, 0)
	check(t, err)
	count := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Env") {
			count++
		}
		return true
	})
	if count == 0 || len(variables()) != count {
		t.Errorf("%d variables are listed, and there are %d", len(variables()), count)
	}
	text := Help()
	for _, v := range variables() {
		if v.fallback == "" || v.example == "" || !strings.Contains(text, "  "+v.name+"\n      "+v.meaning+"\n      default: "+v.fallback) {
			t.Errorf("%s is not in the help", v.name)
		}
	}
}

func TestTokenFileIsReadOrNotWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	environ := []string{EnvTokenFile + "=" + path}
	if _, err := readToken(environ, readSmall, patience); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	check(t, os.WriteFile(path, []byte(" secret\n"), 0o600))
	if token, err := readToken(environ, readSmall, patience); err != nil || token != "secret" {
		t.Errorf("%q, %v", token, err)
	}
	answer := make(chan struct{})
	defer close(answer)
	hangs := func(string) (string, error) { <-answer; return "", nil }
	if _, err := readToken(environ, hangs, time.Millisecond); err == nil || !strings.Contains(err.Error(), path+" cannot be read within 1ms") {
		t.Errorf("a drive that does not answer: %v", err)
	}
}
