package deployment

import (
	"context"
	"fmt"

	"waypoint/api/deploymentpb"
	"waypoint/api/policypb"
	"waypoint/errs"
	"waypoint/rpc/call"
	"waypoint/rpc/names"
)

const (
	maxData        = 64 << 10 // bytes of a plugin's own
	maxDescription = 1 << 10  // bytes
	maxError       = 4 << 10  // bytes; what is longer is cut, a failure must not be lost
	maxURL         = 2 << 10  // bytes
	maxHost        = 255      // bytes
	maxInstances   = 10_000
	defaultLimit   = 100
	maxLimit       = 1000
)

// checkCreate checks what the making of all records has in common.
func checkCreate(ctx context.Context, app *deploymentpb.AppRef, fence *deploymentpb.Fence, plugin string) (*deploymentpb.AppRef, error) {
	ref, err := names.Ref(app)
	if err != nil {
		return nil, err
	}
	if err := names.Check("plugin", plugin); err != nil {
		return nil, err
	}
	return ref, checkFence(ctx, fence)
}

// checkFinish checks what the ending of all records has in common.
func checkFinish(ctx context.Context, what, id string, fence *deploymentpb.Fence) error {
	if id == "" {
		return errs.New(errs.Invalid, "the request names no %s: give its id", what)
	}
	return checkFence(ctx, fence)
}

// checkFence refuses half a fence. A runner works for jobs only, so its records
// must name one; a user may also record what was done by hand.
func checkFence(ctx context.Context, fence *deploymentpb.Fence) error {
	if fence == nil {
		if call.From(ctx).Caller == policypb.Caller_CALLER_RUNNER {
			return errs.New(errs.Invalid, "a runner's record names no job: send the job's id and attempt with it")
		}
		return nil
	}
	if fence.GetJobId() == "" || fence.GetAttempt() == 0 {
		return errs.New(errs.Invalid, "the record names job %q, attempt %d: send both, or neither", names.Short(fence.GetJobId()), fence.GetAttempt())
	}
	return nil
}

func checkHost(host string) error { return names.Text("the host name", host, maxHost) }

func checkData(what string, data []byte) error {
	if len(data) > maxData {
		return errs.New(errs.Exhausted, "the plugin's data of the %s has %d bytes and may have at most %d: keep large data elsewhere and record where", what, len(data), maxData)
	}
	return nil
}

// limit is the number of rows that a list answers with.
func limit(asked uint32) int {
	switch {
	case asked == 0:
		return defaultLimit
	case asked > maxLimit:
		return maxLimit
	}
	return int(asked)
}

// refText is how a reference is shown to people.
func refText(ref *deploymentpb.AppRef) string {
	return fmt.Sprintf("%s/%s in workspace %s", ref.GetProject(), ref.GetApp(), ref.GetWorkspace())
}
