package config

import (
	"context"
	"slices"
	"strings"

	"waypoint/api/commandpb"
	"waypoint/api/configpb"
	"waypoint/api/projectpb"
	"waypoint/errs"
	"waypoint/internal/signals"
	"waypoint/rpc/call"
	"waypoint/rpc/names"
	"waypoint/state"
)

// The signals that no process can take as an order to look at its files.
const (
	sigKill = 9
	sigStop = 19
)

// SetPolicy replaces an app's policy.
func (s *Service) SetPolicy(ctx context.Context, req *configpb.SetPolicyRequest) (*configpb.SetPolicyResponse, error) {
	if err := checkApp(req.GetProject(), req.GetApp()); err != nil {
		return nil, err
	}
	policy, err := checkPolicy(req.GetPolicy())
	if err != nil {
		return nil, err
	}
	result, err := call.Apply(ctx, s.cfg.Applier, 0, &commandpb.Command_ConfigPolicySet{
		ConfigPolicySet: &commandpb.ConfigPolicySet{Project: req.GetProject(), App: req.GetApp(), Policy: policy},
	})
	if err != nil {
		return nil, err
	}
	tx, err := s.cfg.Reader.At(ctx, result.GetIndex())
	if err != nil {
		return nil, err
	}
	return &configpb.SetPolicyResponse{Policy: state.FillPolicy(tx.ConfigPolicy(req.GetProject(), req.GetApp()))}, nil
}

// GetPolicy returns an app's policy, as it applies and as it was set.
func (s *Service) GetPolicy(ctx context.Context, req *configpb.GetPolicyRequest) (*configpb.GetPolicyResponse, error) {
	if err := checkApp(req.GetProject(), req.GetApp()); err != nil {
		return nil, err
	}
	tx, err := s.cfg.Reader.Tx(ctx)
	if err != nil {
		return nil, err
	}
	project := tx.Project(req.GetProject())
	if project == nil {
		return nil, errs.New(errs.NotFound, "there is no project %q", req.GetProject())
	}
	if !slices.ContainsFunc(project.GetApps(), func(a *projectpb.App) bool { return a.GetName() == req.GetApp() }) {
		return nil, errs.New(errs.NotFound, "project %q has no app %q", req.GetProject(), req.GetApp())
	}
	set := tx.ConfigPolicy(req.GetProject(), req.GetApp())
	if set == nil {
		set = &configpb.Policy{}
	}
	return &configpb.GetPolicyResponse{Policy: state.FillPolicy(set), Set: set}, nil
}

func checkApp(project, app string) error {
	if err := names.Check("project", project); err != nil {
		return err
	}
	return names.Check("app", app)
}

// checkPolicy returns the policy as it goes into the command: what is not set
// stays so, and a signal's name is written in one way.
func checkPolicy(policy *configpb.Policy) (*configpb.Policy, error) {
	out := &configpb.Policy{Reload: policy.GetReload(), MaxUnavailable: policy.GetMaxUnavailable()}
	if _, known := configpb.Reload_name[int32(out.GetReload())]; !known {
		return nil, errs.New(errs.Invalid, "the policy has the unknown reload %d: use a client of the server's release", out.GetReload())
	}
	if text := out.GetMaxUnavailable(); text != "" && !state.ValidMaxUnavailable(text) {
		return nil, errs.New(errs.Invalid, "max_unavailable %q is not allowed: "+
			"give a number of instances from 1 up, such as \"2\", or a share from \"1%%\" to \"100%%\"", names.Short(text))
	}
	if out.GetReload() != configpb.Reload_RELOAD_SIGNAL {
		if policy.GetSignal() != "" {
			return nil, errs.New(errs.Invalid, "signal %q is set, but the app is not reloaded by a signal: "+
				"set reload to signal too, or leave the signal out", names.Short(policy.GetSignal()))
		}
		return out, nil
	}
	var err error
	out.Signal, err = checkSignal(policy.GetSignal())
	return out, err
}

// checkSignal returns a signal's name without "SIG", in capitals, or its
// number.
func checkSignal(name string) (string, error) {
	number, known := signals.Number(name)
	switch {
	case name == "":
		return "", errs.New(errs.Invalid, "reload by a signal needs a signal: name the one that makes the app read its files again, such as \"HUP\"")
	case !known:
		return "", errs.New(errs.Invalid, "signal %q is not known: give a name such as \"HUP\", \"USR1\" or \"RTMIN+1\", or a number from 1 to 64", names.Short(name))
	case number == sigKill || number == sigStop:
		return "", errs.New(errs.Invalid, "signal %q ends or stops the app instead of telling it to read its files again: "+
			"choose one that it handles, such as \"HUP\"", names.Short(name))
	}
	return strings.TrimPrefix(strings.ToUpper(name), "SIG"), nil
}
