package session

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/entrypointpb"
	"waypoint/internal/signals"
	"waypoint/state"
)

const (
	// downConfigField is the number of Down's field config.
	downConfigField = 2
	// maxConfig bounds a configuration, in bytes as it is sent. It is half of what
	// an entrypoint takes in one message: one that is too big would break its
	// connection, each time that it is tried again.
	maxConfig = 8 << 20
)

// group is the attached instances of one deployment, which all get the same
// configuration: it is opened and encoded once for all of them.
type group struct {
	in  *Instances
	id  string // deployment
	app *deploymentpb.AppRef
	end context.CancelFunc

	mu      sync.Mutex // taken after Instances.mu where both are
	members map[*attach]struct{}
	vars    []*configpb.Variable // what current was made of
	policy  *configpb.Policy     // that too
	current *offer
}

// offer is an encoded configuration and how current it is.
type offer struct {
	down  *entrypointpb.Down
	hash  string
	epoch string
	index uint64 // of the state in which it was last seen
}

// held is the configuration that an entrypoint has or has been sent.
type held struct {
	hash  string
	epoch string
	index uint64
}

// subscribe sends a the deployment's configuration, unless it has it already,
// and every newer one from then on. If this node knows less than the instance
// does it waits, rather than send an older configuration.
func (in *Instances) subscribe(ctx context.Context, a *attach, have *entrypointpb.HaveConfig, app *deploymentpb.AppRef) {
	a.have = held{hash: string(have.GetHash()), epoch: have.GetEpoch(), index: have.GetIndex()}
	if have != nil {
		a.out.setReady()
	}
	epoch, index := in.cfg.Store.Index()
	if have == nil || epoch != "" && epoch != have.GetEpoch() || index >= have.GetIndex() {
		in.join(a, app)
		return
	}
	in.spawn(func() {
		if in.cfg.Store.WaitIndex(ctx, have.GetEpoch(), have.GetIndex()) == nil {
			in.join(a, app)
		}
	})
}

// join makes a a member of its deployment's group, which is made if need be.
func (in *Instances) join(a *attach, app *deploymentpb.AppRef) {
	in.mu.Lock()
	if a.left {
		in.mu.Unlock()
		return
	}
	g := in.groups[a.deployment]
	if g == nil {
		ctx, end := context.WithCancel(in.base)
		g = &group{in: in, id: a.deployment, app: app, end: end, members: map[*attach]struct{}{}}
		in.groups[a.deployment] = g
		in.spawn(func() { g.watch(ctx) })
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	in.mu.Unlock()
	g.members[a] = struct{}{}
	if g.current == nil || g.current.index < a.have.index {
		g.refresh(in.cfg.Store.Read())
	}
	if g.current != nil {
		a.take(g.current)
	}
	a.out.setReady()
}

// unsubscribe takes a out of its group. The last one ends the group.
func (in *Instances) unsubscribe(a *attach) {
	in.mu.Lock()
	defer in.mu.Unlock()
	a.left = true
	g := in.groups[a.deployment]
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.members, a)
	if len(g.members) == 0 {
		g.end()
		delete(in.groups, g.id)
	}
}

// watch offers every change of the configuration to the members.
func (g *group) watch(ctx context.Context) {
	for {
		changes := state.NewWatchSet()
		tx := g.in.cfg.Store.Read().Watch(changes)
		g.mu.Lock()
		g.refresh(tx)
		g.mu.Unlock()
		if changes.Wait(ctx) != nil {
			return
		}
	}
}

// refresh brings current to what tx says, and offers it to all members if that
// is something new. The caller holds mu.
//
// If any part of it cannot be made up, the whole last good one stays: half a
// change is no configuration that anybody has asked for. An instance that
// joins then gets the last good one too. If this node has never had one for the
// deployment, it sends none: the instance keeps what it has, or starts without
// configuration when its time is up, as if no server could be reached.
func (g *group) refresh(tx *state.Tx) {
	vars, index := tx.EffectiveConfig(g.app)
	policy := tx.ConfigPolicy(g.app.GetProject(), g.app.GetApp())
	epoch := tx.Meta().Epoch
	if c := g.current; c != nil && c.epoch == epoch {
		if index < c.index {
			return // somebody else has seen a newer state
		}
		if slices.Equal(vars, g.vars) && proto.Equal(policy, g.policy) {
			c.index = index
			return
		}
	}
	next, err := g.encode(vars, policy, epoch, index)
	if err != nil {
		g.in.cfg.Logger.Error("cannot make up a configuration: instances keep the one they have",
			"project", g.app.GetProject(), "app", g.app.GetApp(), "workspace", g.app.GetWorkspace(), "error", err)
		return
	}
	g.vars, g.policy, g.current = vars, policy, next
	for a := range g.members {
		a.take(next)
	}
}

// encode opens the values and returns them as a message that is encoded
// already: it has its content as bytes, which each send only copies.
func (g *group) encode(vars []*configpb.Variable, policy *configpb.Policy, epoch string, index uint64) (*offer, error) {
	content := &entrypointpb.Config{}
	if err := g.addVariables(content, vars); err != nil {
		return nil, err
	}
	if err := addPolicy(content, policy); err != nil {
		return nil, err
	}
	deterministic := proto.MarshalOptions{Deterministic: true}
	encoded, err := deterministic.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encode configuration: %w", err)
	}
	hash := sha256.Sum256(encoded)
	content.Epoch, content.Index, content.Hash = epoch, index, hash[:]
	if encoded, err = deterministic.Marshal(content); err != nil {
		return nil, fmt.Errorf("encode configuration: %w", err)
	}
	if n := len(encoded); n > maxConfig {
		return nil, fmt.Errorf("the configuration has %d bytes and may have at most %d: make values smaller, or delete some", n, maxConfig)
	}
	down := &entrypointpb.Down{}
	field := protowire.AppendTag(nil, downConfigField, protowire.BytesType)
	down.ProtoReflect().SetUnknown(protowire.AppendBytes(field, encoded))
	return &offer{down: down, hash: string(hash[:]), epoch: epoch, index: index}, nil
}

// addVariables puts each variable where it is to go.
func (g *group) addVariables(content *entrypointpb.Config, vars []*configpb.Variable) error {
	for _, v := range vars {
		value, err := g.in.cfg.Open(v.GetSealed(), configAAD(v))
		if err != nil {
			return fmt.Errorf("open variable %s: %w", v.GetName(), err)
		}
		file := v.GetFile()
		if file == nil {
			content.Variables = append(content.Variables, &entrypointpb.EnvVar{Name: v.GetName(), Value: string(value)})
			continue
		}
		content.Files = append(content.Files, &entrypointpb.ConfigFile{
			Name: v.GetName(), Path: file.GetPath(), Mode: file.GetMode(), Owner: file.GetOwner(), Content: string(value),
		})
	}
	slices.SortFunc(content.Files, func(a, b *entrypointpb.ConfigFile) int { return strings.Compare(a.GetPath(), b.GetPath()) })
	return nil
}

// addPolicy puts into content what an instance needs to know of the policy.
func addPolicy(content *entrypointpb.Config, policy *configpb.Policy) error {
	switch reload := policy.GetReload(); reload {
	case configpb.Reload_RELOAD_UNSPECIFIED, configpb.Reload_RELOAD_RESTART:
		content.Reload = entrypointpb.Reload_RELOAD_RESTART
	case configpb.Reload_RELOAD_SIGNAL:
		number, known := signals.Number(policy.GetSignal())
		if !known {
			return fmt.Errorf("this node does not know the signal %q of the policy", policy.GetSignal())
		}
		content.Reload, content.Signal = entrypointpb.Reload_RELOAD_SIGNAL, int32(number)
	case configpb.Reload_RELOAD_NEXT_START:
		content.Reload = entrypointpb.Reload_RELOAD_NEXT_START
	default:
		return fmt.Errorf("this node does not know the reload %d of the policy", reload)
	}
	return nil
}

// configAAD says what a sealed value belongs to.
func configAAD(v *configpb.Variable) []byte {
	s := v.GetScope()
	return fmt.Appendf(nil, "config/%s/%s/%s/%s", s.GetProject(), s.GetApp(), s.GetWorkspace(), v.GetName())
}

// take sends a configuration unless the instance has it or a newer one. The
// caller holds the group's mutex.
func (a *attach) take(o *offer) {
	if a.have.epoch == o.epoch && o.index < a.have.index {
		return
	}
	known := a.have.hash == o.hash
	a.have = held{hash: o.hash, epoch: o.epoch, index: o.index}
	if !known {
		a.out.setConfig(o.down)
	}
}
