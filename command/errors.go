package command

import (
	"errors"
	"fmt"
)

const (
	codeDone   = 0
	codeFailed = 1
	codeUsage  = 2
)

// exitCode is the error of a command that has said all there is to say and
// wants the process to end with this code.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit with code %d", int(c)) }

// usageError means that the command was used wrongly.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error {
	return &usageError{text: fmt.Sprintf(format, args...)}
}

// errInterrupted is the cause of a context that an interrupt has ended.
var errInterrupted = errors.New("interrupted")

// noArgs refuses arguments.
func noArgs(args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	return nil
}

// oneArg takes exactly one argument, named what.
func oneArg(args []string, what string) (string, error) {
	switch {
	case len(args) == 0 || args[0] == "":
		return "", usagef("%s is missing", what)
	case len(args) > 1:
		return "", usagef("unexpected argument %q", args[1])
	}
	return args[0], nil
}
