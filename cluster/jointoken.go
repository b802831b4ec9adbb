package cluster

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/authpb"
	"waypoint/api/clusterpb"
	"waypoint/api/commandpb"
	"waypoint/errs"
	"waypoint/internal/ids"
)

const (
	joinPrefix      = "wpj_"
	joinLifetime    = time.Hour
	maxJoinLifetime = 30 * 24 * time.Hour
)

// joinToken is what the text of a join token says. Addresses and fingerprint
// come from here, so a joiner trusts nobody but the one who gave it the token.
type joinToken struct {
	ClusterID   string   `json:"cluster"`
	Fingerprint string   `json:"ca"`
	TokenID     string   `json:"id"`
	Secret      []byte   `json:"secret"`
	Addrs       []string `json:"addrs"`
}

func (t *joinToken) encode() (string, error) {
	data, err := json.Marshal(t)
	if err != nil {
		return "", err
	}
	return joinPrefix + base64.RawURLEncoding.EncodeToString(data), nil
}

func parseJoinToken(text string) (*joinToken, error) {
	t := &joinToken{}
	encoded, ok := strings.CutPrefix(strings.TrimSpace(text), joinPrefix)
	data, err := base64.RawURLEncoding.DecodeString(encoded)
	if err == nil && ok {
		err = json.Unmarshal(data, t)
	}
	if err != nil || !ok || t.ClusterID == "" || t.TokenID == "" || len(t.Secret) == 0 || len(t.Addrs) == 0 {
		return nil, errs.New(errs.Invalid, "this is not a join token; make one with \"waypoint server join-token\"")
	}
	return t, nil
}

// admission lets new nodes in.
type admission struct {
	*node
	writes *writes
	roster *roster
	fresh  func(context.Context) error
	time   *clusterTime
}

// CreateJoinToken makes a token that lets one node join within lifetime; 0
// means an hour. Everything but the addresses follows from the request id, so a
// call that is tried again gives the same token.
func (a *admission) CreateJoinToken(ctx context.Context, requestID, tokenID string, lifetime time.Duration) (*clusterpb.CreateJoinTokenResponse, error) {
	if lifetime == 0 {
		lifetime = joinLifetime
	}
	if lifetime < 0 || lifetime > maxJoinLifetime {
		return nil, errs.New(errs.Invalid, "a join token cannot live for %v; at most %v", lifetime, maxJoinLifetime)
	}
	born, err := ids.Time(requestID)
	if err != nil {
		return nil, errs.New(errs.Invalid, "create join token: %w", err)
	}
	key, err := a.TokenKey()
	if err != nil {
		return nil, err
	}
	t := &joinToken{
		ClusterID: a.ClusterID(), Fingerprint: a.CAFingerprint(), TokenID: ids.Derive(requestID, 0),
		Secret: joinSecret(key, requestID, tokenID), Addrs: a.roster.Servers(),
	}
	hash := sha256.Sum256(t.Secret)
	expires := timestamppb.New(born.Add(lifetime))
	_, err = a.writes.Apply(ctx, &commandpb.Command{
		RequestId: requestID, TokenId: tokenID,
		Kind: &commandpb.Command_TokenCreate{TokenCreate: &commandpb.TokenCreate{Token: &authpb.Token{
			Id: t.TokenID, Kind: authpb.TokenKind_TOKEN_KIND_JOIN, CreatedBy: tokenID,
			CreatedAt: timestamppb.New(born), ExpiresAt: expires, JoinSecretHash: hash[:],
		}}},
	})
	if err != nil {
		return nil, err
	}
	text, err := t.encode()
	if err != nil {
		return nil, errors.Join(errs.New(errs.Internal, "encode join token"), err)
	}
	return &clusterpb.CreateJoinTokenResponse{Text: text, TokenId: t.TokenID, ExpiresAt: expires}, nil
}

// joinSecret derives a secret that nobody without the token key can guess.
func joinSecret(key []byte, requestID, tokenID string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("join-secret\x00" + tokenID + "\x00" + requestID))
	return mac.Sum(nil)
}
