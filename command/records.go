package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"waypoint/api/deploymentpb"
	"waypoint/command/output"
	"waypoint/errs"
)

const (
	filterApp       = "only this `app`"
	filterWorkspace = "only this `workspace`"
	filterHelp      = `In a project's folder the list is of that project; elsewhere, of all projects.`
)

// listFlags are those of the lists of records.
type listFlags struct {
	scope *scope
	limit uint
	conn  *connection
}

func newListFlags() (*flags, *listFlags) {
	f := newFlags()
	l := &listFlags{scope: f.scope(filterApp, filterWorkspace)}
	return f, l
}

func (l *listFlags) limited(f *flags) {
	f.Uint(&l.limit, "limit", 100, "how many to show, newest first (`number`)")
	l.conn = f.reads()
}

// filtered runs fn with the filter that the flags make.
func (l *listFlags) filtered(ctx context.Context, env *Env, args []string, fn func(ctx context.Context, cc Conn, ref *deploymentpb.AppRef) error) error {
	if err := noArgs(args); err != nil {
		return err
	}
	ref, err := l.scope.filter(env)
	if err != nil {
		return err
	}
	return l.conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
		return fn(ctx, cc, ref)
	})
}

func buildListCommand() *Command {
	f, list := newListFlags()
	list.limited(f)
	return &Command{
		Synopsis: "List builds, newest first",
		Help:     filterHelp,
		Examples: `waypoint build list -app=web`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			return list.filtered(ctx, env, args, func(ctx context.Context, cc Conn, ref *deploymentpb.AppRef) error {
				reply, err := deploymentpb.NewDeploymentServiceClient(cc).ListBuilds(ctx, &deploymentpb.ListBuildsRequest{App: ref, Limit: uint32(list.limit)})
				if err != nil {
					return fmt.Errorf("list builds: %w", err)
				}
				table := output.NewTable("BUILD", "APP", "WORKSPACE", "PLUGIN", "STATUS", "STARTED", "ARTIFACT", "ERROR")
				for _, b := range reply.GetBuilds() {
					table.Row(fmt.Sprintf("#%d", b.GetSequence()), appPath(b.GetApp()), b.GetApp().GetWorkspace(), b.GetPlugin(), statusWord(b.GetStatus()),
						output.Ago(env.Now(), b.GetCreatedAt()), b.GetArtifactId(), b.GetError())
				}
				return list.conn.show(env, reply, orHint(table, "There are no builds; \"waypoint build\" makes one."))
			})
		},
	}
}

func deploymentListCommand() *Command {
	f, list := newListFlags()
	var all bool
	f.Bool(&all, "all", "show destroyed deployments too")
	list.limited(f)
	return &Command{
		Synopsis: "List deployments, newest first",
		Help:     filterHelp,
		Examples: `waypoint deployment list -all`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			return list.filtered(ctx, env, args, func(ctx context.Context, cc Conn, ref *deploymentpb.AppRef) error {
				reply, err := deploymentpb.NewDeploymentServiceClient(cc).ListDeployments(ctx, &deploymentpb.ListDeploymentsRequest{App: ref, Destroyed: all, Limit: uint32(list.limit)})
				if err != nil {
					return fmt.Errorf("list deployments: %w", err)
				}
				table := output.NewTable("VERSION", "APP", "WORKSPACE", "PLATFORM", "STATUS", "STARTED", "INSTANCES", "ID", "ERROR")
				for _, d := range reply.GetDeployments() {
					table.Row(versionWord(d.GetSequence()), appPath(d.GetApp()), d.GetApp().GetWorkspace(), d.GetPlugin(), statusWord(d.GetStatus()),
						output.Ago(env.Now(), d.GetCreatedAt()), fmt.Sprint(d.GetInstances()), d.GetId(), d.GetError())
				}
				return list.conn.show(env, reply, orHint(table, "There are no deployments; \"waypoint up\" makes one."))
			})
		},
	}
}

func releaseListCommand() *Command {
	f, list := newListFlags()
	list.limited(f)
	return &Command{
		Synopsis: "List releases, newest first",
		Help:     filterHelp,
		Examples: `waypoint release list -workspace=staging`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			return list.filtered(ctx, env, args, func(ctx context.Context, cc Conn, ref *deploymentpb.AppRef) error {
				reply, err := deploymentpb.NewDeploymentServiceClient(cc).ListReleases(ctx, &deploymentpb.ListReleasesRequest{App: ref, Limit: uint32(list.limit)})
				if err != nil {
					return fmt.Errorf("list releases: %w", err)
				}
				table := output.NewTable("RELEASE", "APP", "WORKSPACE", "OF", "STATUS", "STARTED", "URL", "ERROR")
				for _, r := range reply.GetReleases() {
					table.Row(fmt.Sprintf("#%d", r.GetSequence()), appPath(r.GetApp()), r.GetApp().GetWorkspace(), versionWord(r.GetDeploymentSequence()),
						statusWord(r.GetStatus()), output.Ago(env.Now(), r.GetCreatedAt()), r.GetUrl(), r.GetError())
				}
				return list.conn.show(env, reply, orHint(table, "There are no releases; \"waypoint release\" makes one of the newest deployment."))
			})
		},
	}
}

func instanceListCommand() *Command {
	f, list := newListFlags()
	var all bool
	var deployment string
	f.Bool(&all, "all", "show ended instances too")
	deploymentFlag(f, &deployment)
	list.conn = f.reads()
	return &Command{
		Synopsis: "List the running copies of deployments",
		Help:     filterHelp + ` NODE is the server that an instance is connected to now; STARTS counts how often its entrypoint has started the app. CONFIG is "restart waits" while a restart for a newer configuration waits for its turn.`,
		Examples: `waypoint instance list -deployment=v3`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			return list.filtered(ctx, env, args, func(ctx context.Context, cc Conn, ref *deploymentpb.AppRef) error {
				api := deploymentpb.NewDeploymentServiceClient(cc)
				id, err := deploymentID(ctx, api, ref, deployment)
				if err != nil {
					return err
				}
				reply, err := api.ListInstances(ctx, &deploymentpb.ListInstancesRequest{App: ref, DeploymentId: id, Ended: all})
				if err != nil {
					return fmt.Errorf("list instances: %w", err)
				}
				if list.conn.json {
					return output.Message(env.Stdout, reply)
				}
				table := instanceTable(env, reply.GetInstances(), nodeNames(ctx, cc))
				return list.conn.show(env, reply, orHint(table, "There are no instances; \"waypoint up\" starts some, and \"-all\" shows ended ones."))
			})
		},
	}
}

func instanceTable(env *Env, instances []*deploymentpb.Instance, nodeName func(string) string) *output.Table {
	table := output.NewTable("ID", "APP", "WORKSPACE", "VERSION", "STATE", "NODE", "HOST", "STARTS", "CONFIG", "STARTED")
	for _, i := range instances {
		state := output.Enum(i.GetState(), "INSTANCE_STATE_")
		if i.GetState() == deploymentpb.InstanceState_INSTANCE_STATE_EXITED {
			state = fmt.Sprintf("%s (%d)", state, i.GetExitCode())
		}
		table.Row(i.GetId(), appPath(i.GetApp()), i.GetApp().GetWorkspace(), versionWord(i.GetDeploymentSequence()), state,
			nodeName(i.GetNodeId()), i.GetHost(), fmt.Sprint(i.GetChildStarts()), configWord(i), output.Ago(env.Now(), i.GetStartedAt()))
	}
	return table
}

// configWord says whether an instance's app runs with the newest configuration
// that it has been sent.
func configWord(i *deploymentpb.Instance) string {
	switch {
	case i.GetState() == deploymentpb.InstanceState_INSTANCE_STATE_EXITED:
		return ""
	case len(i.GetRestartWanted()) > 0 && i.RestartDue():
		return "restarting"
	case len(i.GetRestartWanted()) > 0:
		return "restart waits"
	case len(i.GetChildConfig()) > 0:
		return "current"
	}
	return ""
}

// appPath names an app for people: "project/app".
func appPath(ref *deploymentpb.AppRef) string {
	if ref.GetApp() == "" {
		return ref.GetProject()
	}
	return ref.GetProject() + "/" + ref.GetApp()
}

func versionWord(sequence uint64) string {
	if sequence == 0 {
		return ""
	}
	return fmt.Sprintf("v%d", sequence)
}

func statusWord(s deploymentpb.Status) string { return output.Enum(s, "STATUS_") }

var errManyDeployments = errors.New("several deployments have this version")

// deploymentID understands what -deployment takes: an id as it is, or a
// version like v3 of the app.
func deploymentID(ctx context.Context, api deploymentpb.DeploymentServiceClient, ref *deploymentpb.AppRef, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	var sequence uint64
	if _, err := fmt.Sscanf(strings.ToLower(text), "v%d", &sequence); err != nil {
		return text, nil
	}
	reply, err := api.ListDeployments(ctx, &deploymentpb.ListDeploymentsRequest{App: ref, Destroyed: true, Limit: 10_000})
	if err != nil {
		return "", fmt.Errorf("find deployment %s: %w", text, err)
	}
	found := ""
	for _, d := range reply.GetDeployments() {
		switch {
		case d.GetSequence() != sequence:
		case found != "":
			return "", fmt.Errorf("find deployment %s: %w: name project, app and workspace, or give its id", text, errManyDeployments)
		default:
			found = d.GetId()
		}
	}
	if found == "" {
		return "", errs.New(errs.NotFound, "there is no deployment %s of %s; \"waypoint deployment list -all\" shows those there are", text, appPath(ref))
	}
	return found, nil
}
