// Package config serves the configuration variables of applications and the
// policies by which applications take them up. It seals
// values before they go into a command and opens them for users; the state never
// sees one in the clear. Conditions on versions are decided by the state machine.
package config

import (
	"context"
	"strings"

	"google.golang.org/grpc"

	"waypoint/api/commandpb"
	"waypoint/api/configpb"
	"waypoint/rpc/call"
	"waypoint/rpc/read"
	"waypoint/state"
)

// Sealer seals and opens values; internal/seal's Keyring is one.
type Sealer interface {
	// Seal gives the same envelope for the same arguments.
	Seal(plaintext, aad []byte, salt string) ([]byte, error)
	Open(envelope, aad []byte) ([]byte, error)
}

// Config is what the service needs.
type Config struct {
	Reader  *read.Reader
	Applier call.Applier
	Sealer  Sealer
}

// Service answers for package waypoint.config.
type Service struct {
	configpb.UnimplementedConfigServer
	cfg Config
}

// New returns the service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { configpb.RegisterConfigServer(r, s) }

// Associated returns what a value is sealed together with, so that an envelope
// cannot be moved to another variable.
func Associated(scope *configpb.Scope, name string) []byte {
	return []byte(strings.Join([]string{"config", scope.GetProject(), scope.GetApp(), scope.GetWorkspace(), name}, "/"))
}

// Set makes all changes of a request, or none.
func (s *Service) Set(ctx context.Context, req *configpb.SetRequest) (*configpb.SetResponse, error) {
	if err := checkSet(req); err != nil {
		return nil, err
	}
	changes, err := s.seal(ctx, req.GetChanges())
	if err != nil {
		return nil, err
	}
	result, err := call.Apply(ctx, s.cfg.Applier, 0, &commandpb.Command_ConfigSet{
		ConfigSet: &commandpb.ConfigSet{Changes: changes, ReplaceFileScope: req.GetReplaceFileScope()},
	})
	if err != nil {
		return nil, err
	}
	tx, err := s.cfg.Reader.At(ctx, result.GetIndex())
	if err != nil {
		return nil, err
	}
	return &configpb.SetResponse{Variables: written(tx, changes)}, nil
}

// seal returns the changes as they go into the command. The salt is the request
// id: a retry seals to the same bytes and is recognised as the same command.
func (s *Service) seal(ctx context.Context, changes []*configpb.Change) ([]*configpb.Change, error) {
	salt := call.From(ctx).RequestID
	sealed := make([]*configpb.Change, len(changes))
	for i, change := range changes {
		out := &configpb.Change{
			Scope:     scopeOf(change),
			Name:      change.GetName(),
			Delete:    change.GetDelete(),
			IfVersion: change.IfVersion,
			Origin:    originOf(change),
		}
		if !change.GetDelete() {
			envelope, err := s.cfg.Sealer.Seal([]byte(change.GetValue()), Associated(out.GetScope(), out.GetName()), salt)
			if err != nil {
				return nil, err
			}
			out.Sealed, out.File = envelope, fileOf(change)
		}
		sealed[i] = out
	}
	return sealed, nil
}

func scopeOf(change *configpb.Change) *configpb.Scope {
	if change.GetScope() == nil {
		return &configpb.Scope{}
	}
	return change.GetScope()
}

func originOf(change *configpb.Change) configpb.Origin {
	if change.GetOrigin() == configpb.Origin_ORIGIN_UNSPECIFIED {
		return configpb.Origin_ORIGIN_SET
	}
	return change.GetOrigin()
}

// fileOf is where a variable goes, with the default mode filled in.
func fileOf(change *configpb.Change) *configpb.File {
	file := change.GetFile()
	if file == nil {
		return nil
	}
	mode := file.GetMode()
	if mode == 0 {
		mode = defaultMode
	}
	return &configpb.File{Path: file.GetPath(), Mode: mode, Owner: file.GetOwner()}
}

// written returns the variables that changes named, as they are now.
func written(tx *state.Tx, changes []*configpb.Change) []*configpb.Variable {
	var list []*configpb.Variable
	for _, change := range changes {
		if v := tx.Variable(change.GetScope(), change.GetName(), change.GetOrigin()); v != nil {
			list = append(list, bare(v))
		}
	}
	return list
}

// bare returns a variable without its value in any form.
func bare(v *configpb.Variable) *configpb.Variable {
	return &configpb.Variable{
		Scope:     v.GetScope(),
		Name:      v.GetName(),
		Origin:    v.GetOrigin(),
		Version:   v.GetVersion(),
		UpdatedAt: v.GetUpdatedAt(),
		File:      v.GetFile(),
	}
}
