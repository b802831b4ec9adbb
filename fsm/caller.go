package fsm

import (
	"strings"
	"time"

	"waypoint/api/authpb"
	"waypoint/api/commandpb"
	"waypoint/errs"
)

// nodePrefix begins the token id of a command that a node sends for itself.
const nodePrefix = "node:"

// caller is who sends a command: a node or the holder of a token. Both unset
// means a task of the leader.
type caller struct {
	nodeID string
	token  *authpb.Token
}

func (c caller) kind() authpb.TokenKind { return c.token.GetKind() }

// admit refuses what this caller may not do now, whatever the command wants:
// another term's tasks, tokens and nodes that are not or no longer valid.
// These refusals are not remembered.
func (o *op) admit() error {
	if term := o.command.GetTerm(); term != 0 && term != o.place.term {
		return errs.New(errs.StaleAttempt, "the leader of term %d is not the leader of term %d", term, o.place.term)
	}
	switch o.command.GetKind().(type) {
	case *commandpb.Command_Bootstrap, *commandpb.Command_JoinTokenUse:
		return nil // the one finds no cluster, the other brings its own secret
	}
	id := o.command.GetTokenId()
	if nodeID, isNode := strings.CutPrefix(id, nodePrefix); isNode {
		return o.admitNode(nodeID)
	}
	if id == "" && o.command.GetTerm() != 0 {
		return nil
	}
	return o.admitToken(id)
}

func (o *op) admitNode(id string) error {
	if o.Node(id) == nil {
		return errs.New(errs.Unauthenticated, "node %s is not a member of the cluster", id)
	}
	o.caller.nodeID = id
	return nil
}

func (o *op) admitToken(id string) error {
	token := o.Token(id)
	switch {
	case token == nil:
		return errs.New(errs.Unauthenticated, "the token is not known")
	case token.GetRevokedAt() != nil:
		return errs.New(errs.Unauthenticated, "the token has been revoked")
	case expired(token, o.place.time):
		return errs.New(errs.Unauthenticated, "the token has expired")
	case token.GetKind() == authpb.TokenKind_TOKEN_KIND_JOIN:
		return errs.New(errs.Unauthenticated, "a join token is good for joining only")
	case token.GetKind() == authpb.TokenKind_TOKEN_KIND_ENTRYPOINT && !forEntrypoints(o.command):
		return errs.New(errs.PermissionDenied, "an entrypoint's token is good for its own instances only")
	}
	o.caller.token = token
	return nil
}

// expired reports whether a token has ended at the time. It ends with, not
// after, its expiry.
func expired(token *authpb.Token, now time.Time) bool {
	return token.GetExpiresAt() != nil && !token.GetExpiresAt().AsTime().After(now)
}

func forEntrypoints(command *commandpb.Command) bool {
	return command.GetInstanceAttach() != nil || command.GetInstanceUpdate() != nil
}

// leaderOnly refuses a command that is for tasks of the leader.
func (o *op) leaderOnly() error {
	if o.command.GetTerm() == 0 {
		return errs.New(errs.PermissionDenied, "only the leader does this")
	}
	return nil
}

// ofDeployment refuses an entrypoint's token of another deployment.
func (o *op) ofDeployment(id string) error {
	if o.caller.kind() == authpb.TokenKind_TOKEN_KIND_ENTRYPOINT && o.caller.token.GetSubject() != id {
		return errs.New(errs.PermissionDenied, "the token is for another deployment")
	}
	return nil
}
