package config

import (
	"context"
	"fmt"

	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/policypb"
	"waypoint/errs"
	"waypoint/rpc/call"
	"waypoint/rpc/names"
	"waypoint/state"
)

// Get returns the variables of a scope, sorted by name and then from the widest
// to the narrowest. Users see values; a runner's token does not open them.
func (s *Service) Get(ctx context.Context, req *configpb.GetRequest) (*configpb.GetResponse, error) {
	if err := checkGet(req); err != nil {
		return nil, err
	}
	tx, err := s.cfg.Reader.Tx(ctx)
	if err != nil {
		return nil, err
	}
	visible := call.From(ctx).Caller == policypb.Caller_CALLER_USER
	answer := &configpb.GetResponse{}
	for _, v := range selected(tx, req) {
		if req.GetName() != "" && v.GetName() != req.GetName() {
			continue
		}
		out := bare(v)
		if visible {
			value, err := s.cfg.Sealer.Open(v.GetSealed(), Associated(v.GetScope(), v.GetName()))
			if err != nil {
				return nil, fmt.Errorf("open config variable %s: %w", v.GetName(), err)
			}
			out.Value = string(value)
		}
		answer.Variables = append(answer.Variables, out)
	}
	return answer, nil
}

// selected returns the rows a request asks for.
func selected(tx *state.Tx, req *configpb.GetRequest) []*configpb.Variable {
	scope := req.GetScope()
	if scope == nil {
		scope = &configpb.Scope{}
	}
	switch {
	case !req.GetEffective() && req.GetName() != "":
		return tx.ConfigVariablesNamed(scope, req.GetExact(), req.GetName())
	case !req.GetEffective():
		return tx.ConfigVariables(scope, req.GetExact())
	}
	workspace := scope.GetWorkspace()
	if workspace == "" {
		workspace = names.DefaultWorkspace
	}
	vars, _ := tx.EffectiveConfig(&deploymentpb.AppRef{Project: scope.GetProject(), App: scope.GetApp(), Workspace: workspace})
	return vars
}

func checkGet(req *configpb.GetRequest) error {
	if err := checkScope(req.GetScope()); err != nil {
		return err
	}
	if req.GetName() != "" {
		if err := checkName(req.GetName()); err != nil {
			return err
		}
	}
	if req.GetEffective() && req.GetExact() {
		return errs.New(errs.Invalid, "effective and exact exclude each other: ask for one of them")
	}
	if req.GetEffective() && (req.GetScope().GetProject() == "" || req.GetScope().GetApp() == "") {
		return errs.New(errs.Invalid, "the effective configuration is that of one app: name its project and the app")
	}
	return nil
}
