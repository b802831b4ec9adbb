// Package call holds what is known about the call being served: who makes it,
// under which request id, and how current its answer must be. Interceptors put
// it into the context, services read it. It knows no service, no state and no
// transport.
package call

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"waypoint/api/commandpb"
	"waypoint/api/policypb"
	"waypoint/api/versionpb"
	"waypoint/errs"
	"waypoint/internal/ids"
)

// nodePrefix marks the token id of a caller that proved itself by certificate.
const nodePrefix = "node:"

// Info is what is known about one call. Its fields are set before the handler
// runs and never change afterwards.
type Info struct {
	// Caller is the kind of caller that the credentials prove.
	Caller policypb.Caller
	// TokenID is the caller's id in commands: the token's ULID, "node:<id>"
	// for a node, empty for an anonymous caller.
	TokenID string
	// Subject is the token's subject: a user's or runner's name, an
	// entrypoint's deployment id, a node's id.
	Subject string
	// RequestID is the id that makes the call's commands apply once: a ULID,
	// or ULID/n. It is never empty while a handler runs.
	RequestID string
	// Stale says that the caller accepts what this node happens to know.
	Stale bool
	// NodeID is the calling node's id, for CALLER_NODE only.
	NodeID string
	// Ranges are the protocol ranges of the caller; nil when it sent none to a
	// method that does not need them.
	Ranges *versionpb.Ranges
	// Introduced says that a call which anybody may make carries a token that is
	// valid as far as this node knows.
	Introduced bool
	// Method is the full name of the method, "/waypoint.auth.Auth/WhoAmI".
	Method string
	// End ends a stream from within: its context with the cause, and each Recv
	// and Send that waits. It is nil for a call without streams.
	End context.CancelCauseFunc

	observed atomic.Uint64
}

type key struct{}

// With returns a context that carries info.
func With(ctx context.Context, info *Info) context.Context {
	return context.WithValue(ctx, key{}, info)
}

// From returns the info of the call that ctx belongs to. A context without one
// gives the info of an anonymous caller, never nil.
func From(ctx context.Context) *Info {
	if info, ok := ctx.Value(key{}).(*Info); ok {
		return info
	}
	return &Info{Caller: policypb.Caller_CALLER_ANONYMOUS}
}

// Observe notes the state index of a write of this call. The highest one goes
// back to the caller, so that it can read its own write on any node.
func (i *Info) Observe(index uint64) {
	for {
		old := i.observed.Load()
		if index <= old || i.observed.CompareAndSwap(old, index) {
			return
		}
	}
}

// Observed returns the highest index given to Observe, or 0.
func (i *Info) Observed() uint64 { return i.observed.Load() }

// NodeTokenID returns the token id under which a node's commands stand.
func NodeTokenID(nodeID string) string { return nodePrefix + nodeID }

// Command returns the n-th command of the call: kind under the call's request
// id (id itself for n = 0, id/n after that) and the caller's token id.
func Command(ctx context.Context, n int, kind commandpb.Kind) *commandpb.Command {
	info := From(ctx)
	return &commandpb.Command{
		RequestId: numbered(info.RequestID, n),
		TokenId:   info.TokenID,
		Kind:      kind,
	}
}

// numbered returns the id of the n-th command. A caller's own number moves up
// by eight bits, so that its further calls ULID/1 to ULID/255 stay apart.
func numbered(requestID string, n int) string {
	if n == 0 {
		return requestID
	}
	base, suffix, found := strings.Cut(requestID, "/")
	if !found {
		return fmt.Sprintf("%s/%d", base, n)
	}
	k, err := strconv.Atoi(suffix)
	if err != nil {
		return fmt.Sprintf("%s/%d", requestID, n) // refused by the state machine
	}
	return fmt.Sprintf("%s/%d", base, k<<8+n)
}

// ID returns the id of the n-th object that the call makes. It depends on the
// request id only, so a retried call makes the same command again.
func ID(ctx context.Context, n int) string {
	return ids.Derive(From(ctx).RequestID, n)
}

// Birth returns the time at which the call's request id was made. Services use
// it in place of now, so that a retried call makes the same command again.
func Birth(ctx context.Context) (time.Time, error) {
	info := From(ctx)
	t, err := ids.Time(info.RequestID)
	if err != nil {
		return time.Time{}, errs.New(errs.Invalid, "request id %q is not a ULID: leave it out or send a new one", info.RequestID)
	}
	return t, nil
}

// Applier gives a command to the cluster. A refusal and a failure are both
// errors of package errs; the result's Index is set.
type Applier interface {
	Apply(ctx context.Context, cmd *commandpb.Command) (*commandpb.Result, error)
}

// Apply applies the n-th command of the call and notes its index.
func Apply(ctx context.Context, applier Applier, n int, kind commandpb.Kind) (*commandpb.Result, error) {
	result, err := applier.Apply(ctx, Command(ctx, n, kind))
	if err != nil {
		return nil, err
	}
	From(ctx).Observe(result.GetIndex())
	return result, nil
}
