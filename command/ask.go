package command

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"waypoint/command/output"
)

// approval is the flag -auto-approve and the question that it answers.
type approval struct{ auto bool }

func (f *flags) approve() *approval {
	a := &approval{}
	f.Bool(&a.auto, "auto-approve", "do not ask whether you are sure; needed where there is no terminal to ask on")
	return a
}

// ask returns an error unless the user agrees.
func (a *approval) ask(env *Env, question string) error {
	if a.auto {
		return nil
	}
	if !env.Terminal.Is(env.Stdin) {
		return usagef("%s There is no terminal to answer on: give -auto-approve", question)
	}
	fmt.Fprintf(env.Stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(env.Stdin).ReadString('\n')
	if err != nil && answer == "" {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	fmt.Fprintln(env.Stderr, "Nothing was done.")
	return exitCode(codeFailed)
}

// orHint writes a table, or the hint if it has no rows.
func orHint(table *output.Table, hint string) func(io.Writer) error {
	return func(w io.Writer) error {
		if table.Len() == 0 {
			_, err := fmt.Fprintln(w, hint)
			return err
		}
		return table.Write(w)
	}
}
