package exec

import (
	"context"

	"waypoint/api/execpb"
	"waypoint/rpc/names"
)

// listed is how many sessions are listed if nothing is said.
const listed = 100

// ListSessions lists the records of sessions, newest first.
func (s *Service) ListSessions(ctx context.Context, req *execpb.ListSessionsRequest) (*execpb.ListSessionsResponse, error) {
	ref, err := names.Filter(req.GetApp())
	if err != nil {
		return nil, err
	}
	tx, err := s.cfg.Reader.Tx(ctx)
	if err != nil {
		return nil, err
	}
	limit := int(req.GetLimit())
	if limit == 0 {
		limit = listed
	}
	return &execpb.ListSessionsResponse{
		Sessions: tx.ExecSessions(ref, req.GetInstanceId(), req.GetRunning(), limit),
	}, nil
}
