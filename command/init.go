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
			if name != "" && !config.ValidName(name) {
				return usagef("-name=%s: a name %s", name, config.NameRule)
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
func projectFile(env *Env, name string) (*config.Outline, error) {
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
	file, err := config.LoadOutline(path)
	if err != nil {
		return nil, err
	}
	if name != "" && file.Name != name {
		return nil, usagef("%s is of project %s, not %s: leave -name out, or change the file", path, file.Name, name)
	}
	missing, err := checkAll(env, file)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(env.Stdout, "%s is good: project %s with %s.\n", path, file.Name, strings.Join(file.Apps, ", "))
	for _, name := range missing {
		fmt.Fprintf(env.Stdout, "Variable %s has no default: give operations a value with -var %s=..., a -var-file or %s%s.\n", name, name, config.EnvPrefix, name)
	}
	return file, nil
}

// checkAll evaluates the file and returns the variables that have no value yet.
// The text that stands in for them is as good as any: what takes variables of
// other kinds is decoded by plugins, later.
func checkAll(env *Env, file *config.Outline) (missing []string, err error) {
	vars, err := (&scope{}).values(env, file.Path)
	if err != nil {
		return nil, err
	}
	for _, name := range file.Required {
		if _, ok := vars[name]; !ok {
			vars[name] = name
			missing = append(missing, name)
		}
	}
	_, err = config.LoadProject(file.Path, vars, "")
	return missing, err
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
	name = strings.TrimLeft(name, "-")
	name = strings.TrimRight(name[:min(len(name), 64)], "-")
	if name == "" {
		return "app"
	}
	return name
}

func register(ctx context.Context, env *Env, conn *connection, file *config.Outline) error {
	if _, err := conn.target(env); errs.Is(err, errs.Invalid) {
		_, err := fmt.Fprintln(env.Stdout, "No cluster is known, so the project is not registered: \"waypoint login\", then \"waypoint init\" again, or just \"waypoint up\".")
		return err
	}
	return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
		reply, err := projectpb.NewProjectServiceClient(cc).ApplyProject(ctx, &projectpb.ApplyProjectRequest{Name: file.Name, Apps: file.Apps})
		if err != nil {
			return fmt.Errorf("register project %s: %w", file.Name, err)
		}
		_, err = fmt.Fprintf(env.Stdout, "Project %s is registered with %s. Next: waypoint up\n", reply.GetProject().GetName(), describeApps(reply.GetProject()))
		return err
	})
}
