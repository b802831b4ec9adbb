package command

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"waypoint/agent"
	"waypoint/command/output"
	"waypoint/runner"
)

// Env is all that a command may touch of the world. Tests give their own.
type Env struct {
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	Terminal Terminal
	Environ  []string // "NAME=value"
	Dir      string   // the current folder, absolute
	Now      func() time.Time

	Host string // the stable name of this machine, as runners on it have it
	// Signals delivers the given signals until stop is called.
	Signals func(sigs ...os.Signal) (signals <-chan os.Signal, stop func())
	// Patience is how long a call may take before the user is told, on a
	// terminal, what it waits for; 0: for ever.
	Patience time.Duration
	// Exit ends the process at once.
	Exit func(code int)

	// Dial connects to a cluster. It does not wait for the connection.
	Dial func(Target) (Conn, error)
	// DialAsNode connects to the node whose data directory this is, as
	// that node.
	DialAsNode func(dataDir string) (Conn, error)
	// NewRunner makes a runner with a connection of its own; cfg.Client is
	// left out.
	NewRunner func(t Target, cfg runner.Config) (Runner, error)
	// NewNode makes a server node.
	NewNode func(context.Context, agent.Config, hclog.Logger) (Node, error)
}

// Conn is a connection to a cluster.
type Conn interface {
	grpc.ClientConnInterface
	// Current is the address of the node in use, "" if there is none.
	Current() string
	// Avoid prefers other nodes than addr from now on.
	Avoid(addr string)
	Close() error
}

// Runner is what the commands need of a runner.
type Runner interface {
	Run(ctx context.Context) error
	ID() string
	Attached() <-chan struct{}
}

// Node is what "server run" needs of a node.
type Node interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{}
	Info() agent.Info
}

// Terminal is the terminal that the standard streams may be.
type Terminal interface {
	// Is tells whether a stream is a terminal.
	Is(stream any) bool
	// Size is the size of the terminal behind a stream.
	Size(stream any) (rows, columns int, err error)
	// Raw turns the terminal behind a stream to raw mode until restore.
	Raw(stream any) (restore func(), err error)
	// ReadSecret reads a line from the terminal behind a stream without
	// showing it.
	ReadSecret(stream any) (string, error)
}

// NewEnv is the world as it is.
func NewEnv() (*Env, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown" // as package runner has it
	}
	return &Env{
		Host:       host,
		Stdin:      os.Stdin,
		Stdout:     os.Stdout,
		Stderr:     os.Stderr,
		Terminal:   realTerminal{},
		Environ:    os.Environ(),
		Dir:        dir,
		Now:        time.Now,
		Signals:    notify,
		Patience:   patience,
		Exit:       os.Exit,
		Dial:       dial,
		DialAsNode: dialAsNode,
		NewRunner:  newRunner,
		NewNode:    newNode,
	}, nil
}

// Getenv is the value of an environment variable, "" if it is not set.
func (e *Env) Getenv(name string) string {
	for i := len(e.Environ) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(e.Environ[i], name+"="); ok {
			return value
		}
	}
	return ""
}

// style colours what is written to w if that is a terminal and the user has
// not said otherwise (no-color.org).
func (e *Env) style(w io.Writer) output.Style {
	return output.Style{On: e.Getenv("NO_COLOR") == "" && e.Getenv("TERM") != "dumb" && e.Terminal.Is(w)}
}

// path makes a path that the user gave absolute.
func (e *Env) path(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(e.Dir, path)
}

// entrypointBinary is the entrypoint that instances are started under, if the
// user has named one; the runner finds it otherwise.
func (e *Env) entrypointBinary(named string) string {
	if named == "" {
		named = e.Getenv("WAYPOINT_ENTRYPOINT_BINARY")
	}
	if named == "" {
		return ""
	}
	return e.path(named)
}
