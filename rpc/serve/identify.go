package serve

import (
	"context"
	"crypto/tls"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"waypoint/api/authpb"
	"waypoint/api/policypb"
	"waypoint/errs"
	"waypoint/protocol"
	"waypoint/rpc/call"
	"waypoint/rpc/policy"
)

// rowWait bounds how long a node that does not know a well-signed token tries to
// become current before it refuses.
const rowWait = time.Second

const bearer = "Bearer "

// credential is the token of a call; nil for callers without one.
type credential struct {
	signed *authpb.SignedToken
}

// identify finds out who calls and refuses callers that the policy does not
// name. A token counts before a certificate: whoever sends one means it.
func (c *chain) identify(ctx context.Context, info *call.Info, rule *policypb.Policy, headers metadata.MD) (*credential, error) {
	if policy.Open(rule) {
		info.Caller, info.Introduced = policypb.Caller_CALLER_ANONYMOUS, c.introduced(headers)
		return nil, c.sendOn(headers)
	}
	var held *credential
	if text := first(headers, protocol.HeaderAuthorization); text != "" {
		signed, err := c.verify(ctx, text)
		if err != nil {
			return nil, err
		}
		held = &credential{signed: signed}
		info.Caller, info.TokenID, info.Subject = callerOf(signed.GetKind()), signed.GetId(), signed.GetSubject()
	} else if nodeID, ok, err := c.node(ctx); err != nil {
		return nil, err
	} else if ok {
		info.Caller, info.TokenID, info.Subject = policypb.Caller_CALLER_NODE, call.NodeTokenID(nodeID), nodeID
		info.NodeID = nodeID
	} else {
		return nil, errs.New(errs.Unauthenticated,
			"the call of %s carries no token: log in with \"waypoint login\" or set WAYPOINT_SERVER_TOKEN", info.Method)
	}
	if !policy.Admits(rule, info.Caller) {
		return nil, errs.New(errs.PermissionDenied, "%s may not call %s, which is for %s: use a token of the right kind",
			callerWord(info.Caller), info.Method, admitted(rule))
	}
	known(ctx)
	return held, nil
}

// sendOn refuses a call that needs no token and has one, as a client's first
// one, on a node that cannot check tokens: it could do none of the calls that
// follow, and the client is to connect to another one.
func (c *chain) sendOn(headers metadata.MD) error {
	if first(headers, protocol.HeaderAuthorization) == "" {
		return nil
	}
	_, err := c.signingKey()
	return err
}

// signingKey is the key that tokens are checked with.
func (c *chain) signingKey() ([]byte, error) {
	key, err := c.TokenKey()
	if err != nil {
		return nil, errs.New(errs.Unavailable, "node %s cannot check tokens yet: try again or call another node: %w", c.NodeName, err)
	}
	return key, nil
}

// verify checks a token's signature here and its record in the state.
func (c *chain) verify(ctx context.Context, header string) (*authpb.SignedToken, error) {
	if len(header) < len(bearer) || !strings.EqualFold(header[:len(bearer)], bearer) {
		return nil, errs.New(errs.Unauthenticated, "the authorization header is not of the form \"Bearer TOKEN\": send the token as it was printed")
	}
	key, err := c.signingKey()
	if err != nil {
		return nil, err
	}
	signed, err := c.known.verify(key, strings.TrimSpace(header[len(bearer):]))
	if err != nil {
		return nil, err
	}
	meta := c.Store.Meta()
	if meta.ClusterID == "" {
		return nil, errs.New(errs.Unavailable, "node %s has not restored its state yet: try again or call another node", c.NodeName)
	}
	if signed.GetClusterId() != meta.ClusterID {
		return nil, errs.New(errs.Unauthenticated, "the token is of another cluster: use one of cluster %s", meta.ClusterID)
	}
	if callerOf(signed.GetKind()) == policypb.Caller_CALLER_UNSPECIFIED {
		return nil, errs.New(errs.Unauthenticated, "the token only lets a new node join: make a user token with \"waypoint token create\"")
	}
	row, err := c.row(ctx, signed.GetId())
	if err != nil {
		return nil, err
	}
	return signed, c.valid(signed, row)
}

// row looks a token up. A node that lags becomes current first.
func (c *chain) row(ctx context.Context, id string) (*authpb.Token, error) {
	if row := c.Store.Read().Token(id); row != nil {
		return row, nil
	}
	bounded, cancel := context.WithTimeout(ctx, rowWait)
	defer cancel()
	err := c.Fresh.Fresh(bounded)
	if row := c.Store.Read().Token(id); row != nil {
		return row, nil
	}
	if err != nil {
		return nil, errs.New(errs.Unavailable,
			"node %s does not know the token and cannot ask the others now: try again or call another node: %w", c.NodeName, err)
	}
	return nil, errs.New(errs.Unauthenticated, "the token %s does not exist any more: log in with another one", id)
}

// valid says why a token no longer counts. row is nil if it was removed.
func (c *chain) valid(signed *authpb.SignedToken, row *authpb.Token) error {
	now := c.Now()
	switch {
	case row == nil:
		return errs.New(errs.Unauthenticated, "the token %s does not exist any more: log in with another one", signed.GetId())
	case row.GetKind() != signed.GetKind() || row.GetSubject() != signed.GetSubject():
		return errs.New(errs.Unauthenticated, "the token %s does not match its record: log in with another one", signed.GetId())
	case row.GetRevokedAt() != nil:
		return errs.New(errs.Unauthenticated, "the token %s has been revoked: log in with another one", signed.GetId())
	case signed.GetExpiresUnix() != 0 && now.Unix() >= signed.GetExpiresUnix(),
		row.GetExpiresAt() != nil && !now.Before(row.GetExpiresAt().AsTime()):
		return errs.New(errs.Unauthenticated, "the token %s has expired: log in with another one", signed.GetId())
	}
	return nil
}

// node returns the id of the node at the other end, if its certificate says so.
// A node that lags, as one does that has just started, becomes current before
// it refuses another: who is refused takes itself for removed.
func (c *chain) node(ctx context.Context) (string, bool, error) {
	tlsState, ok := connection(ctx)
	if !ok || len(tlsState.PeerCertificates) == 0 {
		return "", false, nil
	}
	if id, ok := c.Peers.PeerIdentity(tlsState); ok {
		return id, true, nil
	}
	bounded, cancel := context.WithTimeout(ctx, rowWait)
	defer cancel()
	err := c.Fresh.Fresh(bounded)
	if id, ok := c.Peers.PeerIdentity(tlsState); ok {
		return id, true, nil
	}
	if err != nil {
		return "", false, errs.New(errs.Unavailable, "node %s does not know the calling node and cannot ask the others now: %w", c.NodeName, err)
	}
	return "", false, errs.New(errs.Unauthenticated,
		"the certificate shown is not that of a member of the cluster: a node that was removed joins again with an empty data directory")
}

func connection(ctx context.Context) (tls.ConnectionState, bool) {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return tls.ConnectionState{}, false
	}
	switch info := from.AuthInfo.(type) {
	case guest:
		return info.ConnectionState(), true
	case credentials.TLSInfo:
		return info.State, true
	}
	return tls.ConnectionState{}, false
}

// callerOf maps kinds of token to kinds of caller. A join token makes no calls.
func callerOf(kind authpb.TokenKind) policypb.Caller {
	switch kind {
	case authpb.TokenKind_TOKEN_KIND_USER:
		return policypb.Caller_CALLER_USER
	case authpb.TokenKind_TOKEN_KIND_RUNNER:
		return policypb.Caller_CALLER_RUNNER
	case authpb.TokenKind_TOKEN_KIND_ENTRYPOINT:
		return policypb.Caller_CALLER_ENTRYPOINT
	}
	return policypb.Caller_CALLER_UNSPECIFIED
}

func callerWord(caller policypb.Caller) string {
	switch caller {
	case policypb.Caller_CALLER_USER:
		return "a user"
	case policypb.Caller_CALLER_RUNNER:
		return "a runner"
	case policypb.Caller_CALLER_ENTRYPOINT:
		return "an entrypoint"
	case policypb.Caller_CALLER_NODE:
		return "a node"
	}
	return "an anonymous caller"
}

func admitted(rule *policypb.Policy) string {
	words := make([]string, 0, len(rule.GetCallers()))
	for _, caller := range rule.GetCallers() {
		words = append(words, strings.TrimPrefix(strings.TrimPrefix(callerWord(caller), "a "), "an ")+"s")
	}
	return strings.Join(words, " and ")
}
