package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/posener/complete"

	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/command/output"
)

func destroyCommand() *Command {
	f := newFlags()
	var chosen []string
	f.List(&chosen, "deployment", complete.PredictAnything, "only this `deployment`: a version like v3, or its id; may be given several times")
	approve := f.approve()
	o := f.operation()
	return &Command{
		Synopsis: "Destroy deployments and their instances",
		Help: `Without -deployment it destroys everything that is deployed of the project (or -app) in the workspace. Records, artifacts and configuration stay.

A deployment that lives on another machine is destroyed by a runner there. ` + "\n\n" + operationHelp,
		Examples: `waypoint destroy
			waypoint destroy -app=web -deployment=v3 -auto-approve`,
		Flags:   f,
		Signals: true,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			at, err := o.scope.target(env)
			if err != nil {
				return err
			}
			if err := o.check(); err != nil {
				return err
			}
			return o.conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				victims, err := deploymentsToDestroy(ctx, cc, at.ref(), chosen)
				if err != nil {
					return err
				}
				if len(victims) == 0 {
					to := env.Stdout
					if o.conn.json {
						to = env.Stderr
					}
					_, err := fmt.Fprintf(to, "Nothing of %s is deployed in workspace %s.\n", appPath(at.ref()), at.workspace)
					return err
				}
				if err := approve.ask(env, destroyQuestion(at, victims)); err != nil {
					return err
				}
				return o.destroy(ctx, env, cc, at, victims)
			})
		},
	}
}

func deploymentsToDestroy(ctx context.Context, cc Conn, ref *deploymentpb.AppRef, chosen []string) ([]*deploymentpb.Deployment, error) {
	api := deploymentpb.NewDeploymentServiceClient(cc)
	reply, err := api.ListDeployments(ctx, &deploymentpb.ListDeploymentsRequest{App: ref, Limit: 10_000})
	if err != nil {
		return nil, fmt.Errorf("list deployments: %w", err)
	}
	if len(chosen) == 0 {
		return reply.GetDeployments(), nil
	}
	byID := make(map[string]*deploymentpb.Deployment, len(reply.GetDeployments()))
	for _, d := range reply.GetDeployments() {
		byID[d.GetId()] = d
	}
	var victims []*deploymentpb.Deployment
	for _, text := range chosen {
		id, err := deploymentID(ctx, api, ref, text)
		if err != nil {
			return nil, err
		}
		if byID[id] == nil {
			return nil, unknownDeployment(text)
		}
		victims = append(victims, byID[id])
		delete(byID, id)
	}
	return victims, nil
}

func destroyQuestion(at *place, victims []*deploymentpb.Deployment) string {
	names := make([]string, len(victims))
	for i, d := range victims {
		names[i] = d.GetApp().GetApp() + " " + versionWord(d.GetSequence())
	}
	return fmt.Sprintf("Destroy %s of project %s in workspace %s (%s)?", output.Count(uint64(len(victims)), "deployment"), at.project, at.workspace, strings.Join(names, ", "))
}

// destroyPart is what one job destroys: deployments that the same runner can.
type destroyPart struct{ host, plugin string }

// destroy submits one job for each host and, as the project file may be
// missing, each platform.
func (o *operation) destroy(ctx context.Context, env *Env, cc Conn, at *place, victims []*deploymentpb.Deployment) error {
	var order []destroyPart
	parts := map[destroyPart][]string{}
	for _, d := range victims {
		part := destroyPart{host: d.GetHost(), plugin: d.GetPlugin()}
		if parts[part] == nil {
			order = append(order, part)
		}
		parts[part] = append(parts[part], d.GetId())
	}
	for _, part := range order {
		here := *o
		if part.host != "" && part.host != env.Host {
			here.remote = true
			here.host = part.host
		}
		spec, err := here.spec(env, jobpb.Operation_OPERATION_DESTROY, at)
		if err != nil {
			return err
		}
		spec.DeploymentIds, spec.Plugin = parts[part], part.plugin
		if err := here.submit(ctx, env, cc, at, spec); err != nil {
			return err
		}
	}
	return nil
}
