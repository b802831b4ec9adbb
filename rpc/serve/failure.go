package serve

import (
	"context"
	"errors"

	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/task"
)

// status is the one place where a failure becomes a log line and a status. The
// cause of an internal error stays in the log, under the id that the caller sees.
func (c *chain) status(ctx context.Context, method string, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
		err = cause
	}
	kind := errs.KindOf(err)
	if panicked := (*task.PanicError)(nil); errors.As(err, &panicked) {
		kind = errs.Internal // whatever it panicked with
	}
	switch kind {
	case errs.Internal:
		err = c.internal(method, err)
	case errs.Unavailable, errs.OutcomeUnknown:
		c.Logger.Debug("call failed", "method", method, "error", err)
	default:
		c.Logger.Trace("call refused", "method", method, "kind", kind, "error", err)
	}
	return errs.ToStatus(err)
}

// internal logs a failure that is ours and returns what the caller may see. One
// that has an id already is in the log of the node where it happened.
func (c *chain) internal(method string, err error) error {
	var known *errs.Error
	if errors.As(err, &known) && known.Kind == errs.Internal && known.ID != "" {
		c.Logger.Warn("call failed elsewhere", "method", method, "id", known.ID, "error", err)
		return known
	}
	id := ids.New()
	c.Logger.Error("call failed", "method", method, "id", id, "error", err)
	shown := errs.New(errs.Internal,
		"internal error in %s: the cause is in the log of node %s under id %s; try again, and report it if it stays", method, c.NodeName, id)
	shown.ID = id
	return shown
}
