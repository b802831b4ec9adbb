package command

import (
	"errors"
	"fmt"
	"strings"

	"waypoint/errs"
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

// explain is the text of an error for people, with what to do next where the
// error's kind alone says it.
func explain(err error) string {
	text := err.Error()
	switch errs.KindOf(err) {
	case errs.Unauthenticated:
		if !strings.Contains(text, "waypoint login") {
			text += "; log in with \"waypoint login\", or check -token and WAYPOINT_SERVER_TOKEN"
		}
	case errs.OutcomeUnknown:
		text += "; it may have been done: look before you try again"
	}
	return text
}

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
