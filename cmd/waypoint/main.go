// Command waypoint is the command line, the server and the runner of Waypoint.
// It only starts package command; what it can do is listed there.
package main

import (
	"context"
	"fmt"
	"os"

	"waypoint/command"
)

func main() {
	env, err := command.NewEnv()
	if err != nil {
		fmt.Fprintf(os.Stderr, "Error: start: %v\n", err)
		os.Exit(1)
	}
	os.Exit(profiled(func() int { return command.Main(context.Background(), env, os.Args[1:]) }))
}
