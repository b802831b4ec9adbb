// Package auth serves the making, listing and revoking of tokens. Whether a
// token may be made or revoked is decided by the state machine; what a caller
// may call at all is decided by package serve.
package auth

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/authpb"
	"waypoint/api/commandpb"
	"waypoint/api/policypb"
	"waypoint/errs"
	"waypoint/internal/token"
	"waypoint/rpc/call"
	"waypoint/rpc/names"
	"waypoint/rpc/read"
)

const (
	maxSubject     = 128     // bytes
	maxDescription = 1 << 10 // bytes
	minLifetime    = time.Minute
	maxLifetime    = 10 * 365 * 24 * time.Hour
)

// Config is what the service needs.
type Config struct {
	Reader  *read.Reader
	Applier call.Applier
	// TokenKey returns the key that tokens are signed with.
	TokenKey func() ([]byte, error)
}

// Service answers for package waypoint.auth.
type Service struct {
	authpb.UnimplementedAuthServer
	cfg Config
}

// New returns the service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { authpb.RegisterAuthServer(r, s) }

// CreateToken makes a user or runner token. A retry with the same request id
// gives the same text again: nothing in it is random.
func (s *Service) CreateToken(ctx context.Context, req *authpb.CreateTokenRequest) (*authpb.CreateTokenResponse, error) {
	row, err := newToken(ctx, req)
	if err != nil {
		return nil, err
	}
	key, err := s.cfg.TokenKey()
	if err != nil {
		return nil, errs.New(errs.Unavailable, "make a token: this node cannot sign it: call another node: %w", err)
	}
	result, err := call.Apply(ctx, s.cfg.Applier, 0, &commandpb.Command_TokenCreate{TokenCreate: &commandpb.TokenCreate{Token: row}})
	if err != nil {
		return nil, err
	}
	tx, err := s.cfg.Reader.At(ctx, result.GetIndex())
	if err != nil {
		return nil, err
	}
	made := tx.Token(row.GetId())
	if made == nil {
		return nil, errs.New(errs.NotFound, "the token %s was made and has been removed since: make another one", row.GetId())
	}
	text := token.Sign(key, &authpb.SignedToken{
		ClusterId:   tx.Meta().ClusterID,
		Id:          row.GetId(),
		Kind:        row.GetKind(),
		Subject:     row.GetSubject(),
		ExpiresUnix: row.GetExpiresAt().GetSeconds(),
	})
	return &authpb.CreateTokenResponse{Token: shown(made), Text: text}, nil
}

// newToken checks a request and returns the record it asks for.
func newToken(ctx context.Context, req *authpb.CreateTokenRequest) (*authpb.Token, error) {
	switch req.GetKind() {
	case authpb.TokenKind_TOKEN_KIND_USER, authpb.TokenKind_TOKEN_KIND_RUNNER:
	case authpb.TokenKind_TOKEN_KIND_ENTRYPOINT:
		return nil, errs.New(errs.Invalid, "entrypoint tokens come with their deployment: create a deployment, or ask for a user or runner token")
	case authpb.TokenKind_TOKEN_KIND_JOIN:
		return nil, errs.New(errs.Invalid, "join tokens are made by \"waypoint server join-token\": ask for a user or runner token here")
	default:
		return nil, errs.New(errs.Invalid, "the request does not say which kind of token to make: ask for a user or runner token")
	}
	if req.GetSubject() == "" {
		return nil, errs.New(errs.Invalid, "the token has no subject: name the user or runner it is for")
	}
	if err := names.Text("the token's subject", req.GetSubject(), maxSubject); err != nil {
		return nil, err
	}
	if err := names.Text("the token's description", req.GetDescription(), maxDescription); err != nil {
		return nil, err
	}
	expires, err := expiry(ctx, req.GetLifetime())
	if err != nil {
		return nil, err
	}
	return &authpb.Token{
		Id:          call.ID(ctx, 0),
		Kind:        req.GetKind(),
		Subject:     req.GetSubject(),
		Description: req.GetDescription(),
		ExpiresAt:   expires,
		CreatedBy:   createdBy(ctx),
	}, nil
}

// expiry counts a lifetime from the birth of the request, so that a retry asks
// for the same moment. It is a whole second, as in the token's text.
func expiry(ctx context.Context, lifetime *durationpb.Duration) (*timestamppb.Timestamp, error) {
	if lifetime == nil {
		return nil, nil
	}
	length := lifetime.AsDuration()
	if lifetime.CheckValid() != nil || length < minLifetime || length > maxLifetime {
		return nil, errs.New(errs.Invalid, "the token's lifetime %s is out of range: give %s to 10 years, or none for a token that does not expire", length, minLifetime)
	}
	born, err := call.Birth(ctx)
	if err != nil {
		return nil, err
	}
	return timestamppb.New(born.Add(length).Truncate(time.Second)), nil
}

// createdBy names who makes a token. A node's own certificate is used to
// replace a lost last user token.
func createdBy(ctx context.Context) string {
	info := call.From(ctx)
	if info.Caller == policypb.Caller_CALLER_NODE {
		return "recover"
	}
	return info.TokenID
}

// ListTokens lists tokens, newest first; revoked and expired ones on request.
func (s *Service) ListTokens(ctx context.Context, req *authpb.ListTokensRequest) (*authpb.ListTokensResponse, error) {
	tx, err := s.cfg.Reader.Tx(ctx)
	if err != nil {
		return nil, err
	}
	born, err := call.Birth(ctx)
	if err != nil {
		return nil, err
	}
	answer := &authpb.ListTokensResponse{}
	for _, row := range tx.Tokens() {
		if req.GetAll() || live(row, born) {
			answer.Tokens = append(answer.Tokens, shown(row))
		}
	}
	return answer, nil
}

func live(row *authpb.Token, now time.Time) bool {
	if row.GetRevokedAt() != nil || row.GetJoinUsedAt() != nil {
		return false
	}
	return row.GetExpiresAt() == nil || now.Before(row.GetExpiresAt().AsTime())
}

// RevokeToken ends a token. Streams of its callers end at once.
func (s *Service) RevokeToken(ctx context.Context, req *authpb.RevokeTokenRequest) (*authpb.RevokeTokenResponse, error) {
	if req.GetId() == "" {
		return nil, errs.New(errs.Invalid, "the request names no token: give the id that \"waypoint token list\" shows")
	}
	result, err := call.Apply(ctx, s.cfg.Applier, 0, &commandpb.Command_TokenRevoke{TokenRevoke: &commandpb.TokenRevoke{Id: req.GetId()}})
	if err != nil {
		return nil, err
	}
	tx, err := s.cfg.Reader.At(ctx, result.GetIndex())
	if err != nil {
		return nil, err
	}
	return &authpb.RevokeTokenResponse{Token: shown(tx.Token(req.GetId()))}, nil
}

// WhoAmI tells a caller what its token is.
func (s *Service) WhoAmI(ctx context.Context, _ *authpb.WhoAmIRequest) (*authpb.WhoAmIResponse, error) {
	info := call.From(ctx)
	answer := &authpb.WhoAmIResponse{Kind: "user", Subject: info.Subject, TokenId: info.TokenID}
	if info.Caller == policypb.Caller_CALLER_RUNNER {
		answer.Kind = "runner"
	}
	return answer, nil
}

// shown returns a record without what joining needs.
func shown(row *authpb.Token) *authpb.Token {
	if row == nil || len(row.GetJoinSecretHash())+len(row.GetJoinCsrKeyHash()) == 0 {
		return row
	}
	clone := proto.Clone(row).(*authpb.Token)
	clone.JoinSecretHash, clone.JoinCsrKeyHash = nil, nil
	return clone
}
