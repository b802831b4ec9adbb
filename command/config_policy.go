package command

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/posener/complete"

	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/command/output"
	"waypoint/config"
)

// policyFlags say what of a policy is to change.
type policyFlags struct {
	flags          *flags
	reload         string
	signal         string
	maxUnavailable string
}

func (f *flags) policy() *policyFlags {
	p := &policyFlags{flags: f}
	f.String(&p.reload, "reload", "", complete.PredictSet(config.ReloadWords()...), "what an instance does when its configuration changes (`how`): restart, signal or next-start")
	f.String(&p.signal, "signal", "", complete.PredictSet("HUP", "USR1", "USR2"), "with -reload=signal, the `signal` that makes the app read its files again: a name or a number")
	f.String(&p.maxUnavailable, "max-unavailable", "", complete.PredictAnything, "how many instances of a deployment may restart at a time (`share`): 2, or 25%, rounded down but at least 1")
	return p
}

func (p *policyFlags) check() error {
	if p.flags.IsSet("reload") && !slices.Contains(config.ReloadWords(), p.reload) {
		return usagef("-reload=%s: there is no such way; use one of %s", p.reload, strings.Join(config.ReloadWords(), ", "))
	}
	return nil
}

func (p *policyFlags) any() bool {
	return p.flags.IsSet("reload") || p.flags.IsSet("signal") || p.flags.IsSet("max-unavailable")
}

// apply changes what the flags name. A signal goes with the way that needs it.
func (p *policyFlags) apply(policy *configpb.Policy) {
	if p.flags.IsSet("reload") {
		policy.Reload = config.ReloadOf(p.reload)
		if policy.GetReload() != configpb.Reload_RELOAD_SIGNAL {
			policy.Signal = ""
		}
	}
	if p.flags.IsSet("signal") {
		policy.Signal = p.signal
	}
	if p.flags.IsSet("max-unavailable") {
		policy.MaxUnavailable = p.maxUnavailable
	}
}

func configPolicyCommand() *Command {
	f := newFlags()
	at := &scope{}
	f.projectFlag(&at.project)
	f.String(&at.app, "app", "", complete.PredictAnything, "the `app`; default: the only one of the project")
	change := f.policy()
	conn := f.writes()
	return &Command{
		Synopsis: "Show or change how an app takes up configuration",
		Help: `Without -reload, -signal and -max-unavailable it shows the policy; with some of them it changes these and leaves the rest. An app has one policy in all workspaces.

-reload=restart, the default: an instance restarts the app, and no more instances of a deployment at a time than -max-unavailable says. -reload=signal: it writes the app's files and sends the app -signal; the environment stays as it is until the app's next start. -reload=next-start: nothing happens until the app's next start.

If the config block of the project file names any part of the policy, it is the whole policy, and the next "waypoint up" sets it again.`,
		Examples: `waypoint config policy
			waypoint config policy -app=web -reload=signal -signal=HUP
			waypoint config policy -app=web -reload=restart -max-unavailable=1`,
		Flags: f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			if err := change.check(); err != nil {
				return err
			}
			place, err := at.target(env)
			if err != nil {
				return err
			}
			ref, err := place.oneApp()
			if err != nil {
				return err
			}
			return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				return runPolicy(ctx, env, configpb.NewConfigClient(cc), conn, ref, change)
			})
		},
	}
}

// runPolicy shows the policy, as it is or as the flags have changed it. What
// nobody has set stays so, and follows the default.
func runPolicy(ctx context.Context, env *Env, api configpb.ConfigClient, conn *connection, ref *deploymentpb.AppRef, change *policyFlags) error {
	was, err := api.GetPolicy(ctx, &configpb.GetPolicyRequest{Project: ref.GetProject(), App: ref.GetApp()})
	if err != nil {
		return fmt.Errorf("get the policy of %s/%s: %w", ref.GetProject(), ref.GetApp(), err)
	}
	human := func(policy *configpb.Policy) func(io.Writer) error {
		return func(w io.Writer) error { return showPolicy(w, ref, policy) }
	}
	if !change.any() {
		return conn.show(env, was, human(was.GetPolicy()))
	}
	policy := was.GetSet()
	if policy == nil {
		policy = was.GetPolicy() // an older server tells only this
	}
	request := &configpb.SetPolicyRequest{Project: ref.GetProject(), App: ref.GetApp(), Policy: policy}
	change.apply(request.GetPolicy())
	now, err := api.SetPolicy(ctx, request)
	if err != nil {
		return fmt.Errorf("change the policy of %s/%s: %w", ref.GetProject(), ref.GetApp(), err)
	}
	return conn.show(env, now, human(now.GetPolicy()))
}

func showPolicy(w io.Writer, ref *deploymentpb.AppRef, policy *configpb.Policy) error {
	fields := &output.Fields{}
	fields.Add("App", ref.GetProject()+"/"+ref.GetApp())
	fields.Add("Reload", config.ReloadWord(policy.GetReload()))
	fields.Add("Signal", policy.GetSignal())
	fields.Add("Max unavailable", policy.GetMaxUnavailable())
	return fields.Write(w, "")
}
