package fsm

import (
	"crypto/subtle"

	"google.golang.org/protobuf/proto"

	"waypoint/api/authpb"
	"waypoint/api/commandpb"
	"waypoint/errs"
	"waypoint/state"
)

func tokenCreate(o *op, c *commandpb.TokenCreate) (*commandpb.Result, error) {
	if o.caller.token != nil && o.caller.kind() != authpb.TokenKind_TOKEN_KIND_USER {
		return nil, errs.New(errs.PermissionDenied, "only users and nodes make tokens")
	}
	if err := insertToken(o, c.GetToken(), o.command.GetTokenId()); err != nil {
		return nil, err
	}
	return done(c.GetToken().GetId()), nil
}

// insertToken stores a new, unused token. It is made by creator unless it
// says otherwise itself.
func insertToken(o *op, token *authpb.Token, creator string) error {
	if token.GetId() == "" || token.GetKind() == authpb.TokenKind_TOKEN_KIND_UNSPECIFIED {
		return errs.New(errs.Invalid, "a token needs an id and a kind")
	}
	if o.Token(token.GetId()) != nil {
		return errs.New(errs.AlreadyExists, "there is a token %s already", token.GetId())
	}
	row := &authpb.Token{
		Id:             token.GetId(),
		Kind:           token.GetKind(),
		Subject:        token.GetSubject(),
		Description:    token.GetDescription(),
		CreatedAt:      o.now,
		ExpiresAt:      token.GetExpiresAt(),
		CreatedBy:      token.GetCreatedBy(),
		JoinSecretHash: token.GetJoinSecretHash(),
	}
	if row.CreatedBy == "" {
		row.CreatedBy = creator
	}
	state.Put(o.WriteTx, row)
	return nil
}

func tokenRevoke(o *op, c *commandpb.TokenRevoke) (*commandpb.Result, error) {
	if o.caller.token != nil && o.caller.kind() != authpb.TokenKind_TOKEN_KIND_USER {
		return nil, errs.New(errs.PermissionDenied, "only users and nodes revoke tokens")
	}
	token := o.Token(c.GetId())
	if token == nil {
		return nil, errs.New(errs.NotFound, "there is no token %s", c.GetId())
	}
	if !revoke(o, token) {
		return unchanged(c.GetId()), nil
	}
	return done(c.GetId()), nil
}

// revoke reports false if the token was revoked before.
func revoke(o *op, token *authpb.Token) bool {
	if token.GetRevokedAt() != nil {
		return false
	}
	row := proto.CloneOf(token)
	row.RevokedAt = o.now
	state.Put(o.WriteTx, row)
	return true
}

// joinTokenUse uses a join token up and makes the node a member. The result
// names the node and the serial of its certificate; the same joiner, known by
// the key of its certificate request, gets the same result again.
func joinTokenUse(o *op, c *commandpb.JoinTokenUse) (*commandpb.Result, error) {
	token := o.Token(c.GetTokenId())
	if err := usable(token, c.GetSecretHash()); err != nil {
		return nil, err
	}
	if len(c.GetCsrKeyHash()) == 0 || c.GetSerial() == "" {
		return nil, errs.New(errs.Invalid, "a join needs the hash of the certificate request's key and a serial")
	}
	if token.GetJoinUsedAt() != nil {
		return joinAgain(o, token, c.GetCsrKeyHash())
	}
	if expired(token, o.place.time) {
		return nil, errs.New(errs.Unauthenticated, "the join token has expired: make another one")
	}
	node := proto.CloneOf(c.GetNode())
	node.Serial = c.GetSerial()
	if err := listNode(o, node); err != nil {
		return nil, err
	}
	row := proto.CloneOf(token)
	row.JoinCsrKeyHash = c.GetCsrKeyHash()
	row.JoinNodeId = node.GetId()
	row.JoinSerial = c.GetSerial()
	row.JoinUsedAt = o.now
	state.Put(o.WriteTx, row)
	return done(node.GetId(), c.GetSerial()), nil
}

func usable(token *authpb.Token, secretHash []byte) error {
	switch {
	case token.GetKind() != authpb.TokenKind_TOKEN_KIND_JOIN:
		return errs.New(errs.Unauthenticated, "the join token is not known to this cluster")
	case len(secretHash) == 0 || subtle.ConstantTimeCompare(token.GetJoinSecretHash(), secretHash) != 1:
		return errs.New(errs.Unauthenticated, "the join token's secret is wrong")
	case token.GetRevokedAt() != nil:
		return errs.New(errs.Unauthenticated, "the join token has been revoked: make another one")
	}
	return nil
}

// joinAgain answers a joiner that did not hear its first answer, even after
// the token's expiry.
func joinAgain(o *op, token *authpb.Token, csrKeyHash []byte) (*commandpb.Result, error) {
	if subtle.ConstantTimeCompare(token.GetJoinCsrKeyHash(), csrKeyHash) != 1 {
		return nil, errs.New(errs.Unauthenticated, "the join token has been used by another node: make another one")
	}
	if o.Node(token.GetJoinNodeId()) == nil {
		return nil, errs.New(errs.Unauthenticated, "the node that used this join token has been removed: make another one")
	}
	return unchanged(token.GetJoinNodeId(), token.GetJoinSerial()), nil
}
