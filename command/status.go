package command

import (
	"context"
	"fmt"
	"io"

	"waypoint/api/deploymentpb"
	"waypoint/command/output"
)

func statusCommand() *Command {
	f, list := newListFlags()
	list.conn = f.reads()
	return &Command{
		Synopsis: "Show how the apps are",
		Help:     filterHelp + ` A deployment that runs without the entrypoint is answered for by its platform.`,
		Examples: `waypoint status
			waypoint status -app=web -json`,
		Flags: f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			return list.filtered(ctx, env, args, func(ctx context.Context, cc Conn, ref *deploymentpb.AppRef) error {
				reply, err := deploymentpb.NewDeploymentServiceClient(cc).Status(ctx, &deploymentpb.StatusRequest{App: ref})
				if err != nil {
					return fmt.Errorf("ask for the status: %w", err)
				}
				return list.conn.show(env, reply, func(w io.Writer) error { return showStatus(w, env, reply.GetApps()) })
			})
		},
	}
}

func showStatus(w io.Writer, env *Env, apps []*deploymentpb.AppStatus) error {
	table := output.NewTable("", "APP", "WORKSPACE", "DEPLOYMENT", "RELEASED", "INSTANCES", "CHANGED", "STATUS")
	for _, a := range apps {
		mark := "!"
		if a.GetHealthy() {
			mark = "+"
		}
		if a.GetDeployment() == nil {
			mark = " "
		}
		deployment := versionWord(a.GetDeployment().GetSequence())
		if d := a.GetDeployment(); d != nil && d.GetStatus() != deploymentpb.Status_STATUS_SUCCEEDED {
			deployment += " " + statusWord(d.GetStatus())
		}
		changed := a.GetDeployment().GetCreatedAt()
		if changed == nil {
			changed = a.GetBuild().GetCreatedAt()
		}
		table.Row(mark, appPath(a.GetApp()), a.GetApp().GetWorkspace(), deployment, released(a),
			attachedWords(a), output.Ago(env.Now(), changed), a.GetSummary())
	}
	if table.Len() == 0 {
		_, err := fmt.Fprintln(w, "Nothing has been done yet; \"waypoint up\" builds, deploys and releases.")
		return err
	}
	if err := table.Write(w); err != nil {
		return err
	}
	for _, a := range apps {
		if url := releaseURL(a); url != "" {
			if _, err := fmt.Fprintf(w, "\n%s: %s\n", appPath(a.GetApp()), url); err != nil {
				return err
			}
		}
	}
	return nil
}

// attachedWords counts the attached instances: those of the deployment that is
// shown, and, if there are any, those of older ones.
func attachedWords(a *deploymentpb.AppStatus) string {
	current, older := 0, 0
	for _, i := range a.GetInstances() {
		switch {
		case i.GetState() != deploymentpb.InstanceState_INSTANCE_STATE_ATTACHED:
		case i.GetDeploymentId() == a.GetDeployment().GetId():
			current++
		default:
			older++
		}
	}
	if older > 0 {
		return fmt.Sprintf("%d +%d older", current, older)
	}
	return fmt.Sprint(current)
}

// released is the version that users are led to, "" if it is not there any more.
func released(a *deploymentpb.AppStatus) string {
	if a.GetReleased().GetStatus() == deploymentpb.Status_STATUS_DESTROYED {
		return ""
	}
	return versionWord(a.GetReleased().GetSequence())
}

func releaseURL(a *deploymentpb.AppStatus) string {
	if released(a) == "" {
		return ""
	}
	if url := a.GetRelease().GetUrl(); url != "" {
		return url
	}
	return a.GetReleased().GetUrl()
}
