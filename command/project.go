package command

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/posener/complete"

	"waypoint/api/projectpb"
	"waypoint/command/output"
)

func projectListCommand() *Command {
	f := newFlags()
	conn := f.reads()
	return &Command{
		Synopsis: "List the projects",
		Examples: `waypoint project list`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				reply, err := projectpb.NewProjectServiceClient(cc).ListProjects(ctx, &projectpb.ListProjectsRequest{})
				if err != nil {
					return fmt.Errorf("list projects: %w", err)
				}
				table := output.NewTable("NAME", "APPS", "CREATED", "CHANGED")
				for _, p := range reply.GetProjects() {
					table.Row(p.GetName(), strings.Join(appNames(p), ", "), output.Ago(env.Now(), p.GetCreatedAt()), output.Ago(env.Now(), p.GetUpdatedAt()))
				}
				return conn.show(env, reply, orHint(table, "There are no projects; \"waypoint init\" in a folder makes one."))
			})
		},
	}
}

func projectInspectCommand() *Command {
	f := newFlags()
	conn := f.reads()
	return &Command{
		Synopsis: "Show a project, this folder's unless named",
		Args:     "[NAME]",
		Examples: `waypoint project inspect hello`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			name, err := projectArg(env, args)
			if err != nil {
				return err
			}
			return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				reply, err := projectpb.NewProjectServiceClient(cc).GetProject(ctx, &projectpb.GetProjectRequest{Name: name})
				if err != nil {
					return fmt.Errorf("inspect project %s: %w", name, err)
				}
				return conn.show(env, reply, func(w io.Writer) error { return showProject(w, env, reply.GetProject()) })
			})
		},
	}
}

func showProject(w io.Writer, env *Env, p *projectpb.Project) error {
	fields := &output.Fields{}
	fields.Add("Name", p.GetName())
	fields.Add("Version", fmt.Sprint(p.GetVersion()))
	fields.Add("Apps", strings.Join(appNames(p), ", "))
	fields.Add("Created", output.Ago(env.Now(), p.GetCreatedAt()))
	fields.Add("Changed", output.Ago(env.Now(), p.GetUpdatedAt()))
	return fields.Write(w, "")
}

// projectArg is the named project, or the one of the current folder.
func projectArg(env *Env, args []string) (string, error) {
	if len(args) > 0 {
		return oneArg(args, "NAME")
	}
	at, err := (&scope{}).target(env)
	if err != nil {
		return "", err
	}
	return at.project, nil
}

func projectApplyCommand() *Command {
	f := newFlags()
	var apps []string
	f.List(&apps, "app", complete.PredictAnything, "`app` to register; may be given several times")
	conn := f.writes()
	return &Command{
		Synopsis: "Register a project and its apps",
		Args:     "[NAME]",
		Help: `Without a name, project and apps are those of the project file. Apps that are registered already stay.

"waypoint init" and "waypoint up" do this too.`,
		Examples: `waypoint project apply
			waypoint project apply shop -app=web -app=worker`,
		Flags: f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			request := &projectpb.ApplyProjectRequest{Apps: apps}
			if len(args) > 0 {
				name, err := oneArg(args, "NAME")
				if err != nil {
					return err
				}
				request.Name = name
			} else {
				at, err := (&scope{}).target(env)
				if err != nil {
					return err
				}
				request.Name, request.Apps = at.project, append(at.file.Apps, apps...)
			}
			return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				reply, err := projectpb.NewProjectServiceClient(cc).ApplyProject(ctx, request)
				if err != nil {
					return fmt.Errorf("register project %s: %w", request.GetName(), err)
				}
				return conn.show(env, reply, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "Project %s is registered with %s.\n", reply.GetProject().GetName(), describeApps(reply.GetProject()))
					return err
				})
			})
		},
	}
}

func projectDestroyCommand() *Command {
	f := newFlags()
	approve := f.approve()
	conn := f.writes()
	return &Command{
		Synopsis: "Forget a project",
		Args:     "NAME",
		Help:     `The cluster refuses this while a deployment of the project is not destroyed: run "waypoint destroy" first. Records and configuration variables of the project go with it.`,
		Examples: `waypoint project destroy hello`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			name, err := oneArg(args, "NAME")
			if err != nil {
				return err
			}
			return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				if err := approve.ask(env, fmt.Sprintf("Forget project %s?", name)); err != nil {
					return err
				}
				reply, err := projectpb.NewProjectServiceClient(cc).DestroyProject(ctx, &projectpb.DestroyProjectRequest{Name: name})
				if err != nil {
					return fmt.Errorf("destroy project %s: %w", name, err)
				}
				return conn.show(env, reply, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "Project %s is forgotten.\n", name)
					return err
				})
			})
		},
	}
}

func appNames(p *projectpb.Project) []string {
	names := make([]string, 0, len(p.GetApps()))
	for _, app := range p.GetApps() {
		names = append(names, app.GetName())
	}
	return names
}

func describeApps(p *projectpb.Project) string {
	switch names := appNames(p); len(names) {
	case 0:
		return "no apps"
	case 1:
		return "app " + names[0]
	default:
		return "apps " + strings.Join(names, ", ")
	}
}

func workspaceListCommand() *Command {
	f := newFlags()
	var project string
	f.String(&project, "project", "", complete.PredictAnything, "only workspaces of the project of this `name`")
	f.Alias("p", "project")
	conn := f.reads()
	return &Command{
		Synopsis: "List the workspaces that have been used",
		Help:     `A workspace begins to exist when something is done in it: "waypoint up -workspace=staging".`,
		Examples: `waypoint workspace list -project=hello`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				reply, err := projectpb.NewProjectServiceClient(cc).ListWorkspaces(ctx, &projectpb.ListWorkspacesRequest{Project: project})
				if err != nil {
					return fmt.Errorf("list workspaces: %w", err)
				}
				table := output.NewTable("NAME", "PROJECTS", "ACTIVE")
				for _, w := range reply.GetWorkspaces() {
					table.Row(w.GetName(), strings.Join(w.GetProjects(), ", "), output.Ago(env.Now(), w.GetActiveAt()))
				}
				return conn.show(env, reply, orHint(table, "No workspace has been used yet; \"waypoint up\" uses \"default\"."))
			})
		},
	}
}
