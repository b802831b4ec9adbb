// Package entrypoint is the process that an application runs under: it starts
// the application's command, passes on signals and the exit status, reaps
// orphans, and stays connected to the cluster for configuration, logs and
// exec. Whatever the network or a server does, the application goes on: every
// part of this package but the loop that owns the child may fail and is tried
// again.
//
// It is linked into other people's containers, so it imports only what
// DESIGN.md section 9 allows, and must not know anything of the cluster but
// the Entrypoint service.
package entrypoint

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"waypoint/errs"
	"waypoint/internal/atomicfile"
)

// Names of the environment variables that configure an entrypoint. The child
// gets none of them. An option that cannot be read is complained about and
// stays at its default, so that the application runs; only DISABLE_EXEC counts
// as set then, for it keeps people out.
const (
	EnvAddr          = "WAYPOINT_SERVER_ADDR"       // comma-separated host:port
	EnvCA            = "WAYPOINT_SERVER_CA"         // PEM, or sha256: and a fingerprint
	EnvDeployment    = "WAYPOINT_DEPLOYMENT_ID"     // for people; the token decides
	EnvToken         = "WAYPOINT_ENTRYPOINT_TOKEN"  // or
	EnvTokenFile     = EnvToken + "_FILE"           // a file that holds it
	EnvDisable       = ownPrefix + "DISABLE"        // a plain init
	EnvRequireConfig = ownPrefix + "REQUIRE_CONFIG" // no child without a configuration
	EnvDisableExec   = ownPrefix + "DISABLE_EXEC"   // no commands from outside
	EnvGrace         = ownPrefix + "GRACE"          // between TERM and KILL, such as "25s"
	EnvLogBytes      = ownPrefix + "LOG_BYTES"      // size of the log ring
	ownPrefix        = "WAYPOINT_ENTRYPOINT_"       // of every option, also future ones
	maxTokenFile     = 64 << 10                     // bytes
	tokenWait        = 2 * time.Second              // for the file to be read
)

// Config is what an entrypoint is to do.
type Config struct {
	Argv []string // the child's command
	Env  []string // the container's environment without our own variables

	Addrs []string // servers; none: no connection
	CA    string
	Token string
	// Problem says why there is no connection although servers are named.
	Problem error

	Disable       bool // a plain init, whatever else is set
	RequireConfig bool // the child is not started before a configuration is there
	DisableExec   bool // exec sessions are refused

	Started    time.Time     // when the process started
	ConfigWait time.Duration // from then until the child starts without configuration
	Grace      time.Duration // between TERM and KILL
	Flush      time.Duration // for the last log lines at the end
	LogBytes   int           // of the log ring

	Stdin, Stdout, Stderr *os.File

	complaints []string // about options

	replace replaceFunc // writes a file
	fork    forkFunc    // starts a process
}

// DefaultConfig has all values that need no environment.
func DefaultConfig() Config {
	return Config{
		Started:    time.Now(),
		ConfigWait: 4500 * time.Millisecond,
		Grace:      25 * time.Second,
		Flush:      time.Second,
		LogBytes:   1 << 20,
		Stdin:      os.Stdin,
		Stdout:     os.Stdout,
		Stderr:     os.Stderr,
		replace:    atomicfile.Replace,
		fork:       os.StartProcess,
	}
}

// FromEnviron adds what the command line and the environment say. Only a
// missing command is an error: everything else that is wrong becomes Problem,
// with which the child still runs.
func (c Config) FromEnviron(argv, environ []string) (Config, error) {
	if len(argv) == 0 {
		return c, errs.New(errs.Invalid, "no command is given\n%s", Usage)
	}
	c.Argv = argv
	c.Env = withoutOwn(environ)
	for _, addr := range strings.Split(lookup(environ, EnvAddr), ",") {
		if addr = strings.TrimSpace(addr); addr != "" {
			c.Addrs = append(c.Addrs, addr)
		}
	}
	c.CA = lookup(environ, EnvCA)
	c.Disable = c.flag(environ, EnvDisable, false)
	if len(c.Addrs) > 0 && !c.Disable {
		c.Token, c.Problem = readToken(environ, readSmall, tokenWait)
	}
	c.RequireConfig = c.flag(environ, EnvRequireConfig, false)
	c.DisableExec = c.flag(environ, EnvDisableExec, true)
	if text := lookup(environ, EnvGrace); text != "" {
		if d, err := time.ParseDuration(text); err == nil && d >= 0 {
			c.Grace = d
		} else {
			c.complain("%s: %q is not a duration like 25s; using the default", EnvGrace, text)
		}
	}
	if text := lookup(environ, EnvLogBytes); text != "" {
		if n, err := strconv.Atoi(text); err == nil && n > 0 {
			c.LogBytes = n
		} else {
			c.complain("%s: %q is not a number of bytes; using the default", EnvLogBytes, text)
		}
	}
	return c, nil
}

// flag is a boolean option; malformed is what one counts as that cannot be
// read.
func (c *Config) flag(environ []string, name string, malformed bool) bool {
	text := lookup(environ, name)
	if text == "" {
		return false
	}
	set, err := strconv.ParseBool(text)
	if err != nil {
		c.complain("%s: %q is neither true nor false; taking it for %t", name, text, malformed)
		return malformed
	}
	return set
}

// complain keeps what is wrong with an option for the log: writing it now
// could take for ever.
func (c *Config) complain(format string, args ...any) {
	c.complaints = append(c.complaints, fmt.Sprintf(format, args...))
}

// readToken is the token and what is wrong with it. A file on a drive that
// does not answer is waited for no longer than limit.
func readToken(environ []string, read func(path string) (string, error), limit time.Duration) (string, error) {
	if token := lookup(environ, EnvToken); token != "" {
		return token, nil
	}
	path := lookup(environ, EnvTokenFile)
	if path == "" {
		return "", fmt.Errorf("neither %s nor %s is set", EnvToken, EnvTokenFile)
	}
	type result struct {
		token string
		err   error
	}
	done := make(chan result, 1)
	go func() {
		token, err := read(path)
		done <- result{token, err}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.token, r.err
	case <-timer.C:
		return "", fmt.Errorf("read token: %s cannot be read within %s", path, limit)
	}
}

// readSmall reads a file that holds a token.
func readSmall(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxTokenFile {
		return "", fmt.Errorf("read token: %s is not a small regular file", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// lookup finds a variable; the last one of a name counts.
func lookup(environ []string, name string) string {
	for _, kv := range slices.Backward(environ) {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			return v
		}
	}
	return ""
}

// withoutOwn removes what only concerns the entrypoint, its token first of all.
func withoutOwn(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return strings.HasPrefix(name, ownPrefix) || name == EnvAddr || name == EnvCA || name == EnvDeployment
	})
}
