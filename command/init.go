package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/posener/complete"

	"waypoint/api/projectpb"
	"waypoint/config"
	"waypoint/errs"
)

func initCommand() *Command {
	f := newFlags()
	var name string
	f.String(&name, "name", "", complete.PredictAnything, "`name` of the project in a new file; default: the folder's name")
	conn := f.talks()
	return &Command{
		Synopsis: "Write or check a project file and register the project",
		Help: `Where there is no waypoint.hcl in this folder or above it, one is written to start from. An existing one is checked; what is wrong with it is told with line and column.

The project and its apps are then registered with the cluster, if one is known.`,
		Examples: `waypoint init
			waypoint init -name=shop`,
		Flags: f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			file, err := projectFile(env, name)
			if err != nil {
				return err
			}
			return register(ctx, env, conn, file)
		},
	}
}

// projectFile reads the project file, and writes one first if there is none.
func projectFile(env *Env, name string) (*config.Project, error) {
	path, err := config.FindProject(env.Dir)
	switch {
	case errs.Is(err, errs.NotFound):
		if path, err = writeTemplate(env, name); err != nil {
			return nil, err
		}
		fmt.Fprintf(env.Stdout, "Wrote %s; it describes an app that runs as it is. Change it to yours.\n", path)
	case err != nil:
		return nil, err
	}
	vars, err := (&scope{}).values(env, path)
	if err != nil {
		return nil, err
	}
	file, err := config.LoadProject(path, vars, "")
	if err != nil {
		return nil, err
	}
	if name != "" && file.Name != name {
		return nil, usagef("%s is of project %s, not %s: leave -name out, or change the file", path, file.Name, name)
	}
	fmt.Fprintf(env.Stdout, "%s is good: project %s with %s.\n", path, file.Name, strings.Join(file.Names(), ", "))
	return file, nil
}

func writeTemplate(env *Env, name string) (string, error) {
	if name == "" {
		name = projectName(filepath.Base(env.Dir))
	}
	path := filepath.Join(env.Dir, config.FileName)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		if errors.Is(err, fs.ErrExist) {
			return "", errs.New(errs.AlreadyExists, "%s is there, but it is not a file", path)
		}
		return "", fmt.Errorf("write the project file: %w", err)
	}
	_, err = file.WriteString(config.Template(name, name))
	if err := errors.Join(err, file.Close()); err != nil {
		return "", fmt.Errorf("write the project file: %w", err)
	}
	return path, nil
}

// projectName makes a folder's name one that a project can have.
func projectName(folder string) string {
	name := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(folder), "-")
	if name = strings.Trim(name, "-"); name == "" {
		return "app"
	}
	return name
}

func register(ctx context.Context, env *Env, conn *connection, file *config.Project) error {
	if _, err := conn.target(env); errs.Is(err, errs.Invalid) {
		_, err := fmt.Fprintln(env.Stdout, "No cluster is known, so the project is not registered: \"waypoint login\", then \"waypoint init\" again, or just \"waypoint up\".")
		return err
	}
	return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
		reply, err := projectpb.NewProjectServiceClient(cc).ApplyProject(ctx, &projectpb.ApplyProjectRequest{Name: file.Name, Apps: file.Names()})
		if err != nil {
			return fmt.Errorf("register project %s: %w", file.Name, err)
		}
		_, err = fmt.Fprintf(env.Stdout, "Project %s is registered with %s. Next: waypoint up\n", reply.GetProject().GetName(), describeApps(reply.GetProject()))
		return err
	})
}
