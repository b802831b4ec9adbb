package command

import (
	"errors"

	"golang.org/x/term"
)

// realTerminal answers for streams that are files.
type realTerminal struct{}

var _ Terminal = realTerminal{}

var errNoTerminal = errors.New("not a terminal")

// fd is the descriptor of a stream, -1 if it has none.
func fd(stream any) int {
	if f, ok := stream.(interface{ Fd() uintptr }); ok {
		return int(f.Fd())
	}
	return -1
}

func (realTerminal) Is(stream any) bool {
	n := fd(stream)
	return n >= 0 && term.IsTerminal(n)
}

func (realTerminal) Size(stream any) (rows, columns int, err error) {
	if fd(stream) < 0 {
		return 0, 0, errNoTerminal
	}
	columns, rows, err = term.GetSize(fd(stream))
	return rows, columns, err
}

func (realTerminal) Raw(stream any) (restore func(), err error) {
	if fd(stream) < 0 {
		return nil, errNoTerminal
	}
	before, err := term.MakeRaw(fd(stream))
	if err != nil {
		return nil, err
	}
	return func() { _ = term.Restore(fd(stream), before) }, nil
}

func (realTerminal) ReadSecret(stream any) (string, error) {
	if fd(stream) < 0 {
		return "", errNoTerminal
	}
	secret, err := term.ReadPassword(fd(stream))
	return string(secret), err
}
