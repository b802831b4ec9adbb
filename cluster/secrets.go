package cluster

import (
	"fmt"

	"waypoint/api/commandpb"
	"waypoint/errs"
	"waypoint/internal/seal"
	"waypoint/state"
)

// The secrets that the cluster keeps, sealed, in its state.
const (
	secretCAKey    = "ca-key"
	secretCACert   = "ca-cert" // no secret, but it belongs to the key
	secretGossip   = "gossip-key"
	secretTokenKey = "token-key"
)

func sealSecret(keys *seal.Keyring, name string, value []byte) (*commandpb.Secret, error) {
	sealed, err := keys.Seal(value, secretAAD(name), name)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", name, err)
	}
	return &commandpb.Secret{Name: name, Sealed: sealed}, nil
}

func openSecret(store *state.Store, keys *seal.Keyring, name string) ([]byte, error) {
	sealed := store.Read().Secret(name)
	if sealed == nil {
		return nil, errs.New(errs.Unavailable, "this node has not received the cluster's secrets yet")
	}
	value, err := keys.Open(sealed, secretAAD(name))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return value, nil
}

func secretAAD(name string) []byte { return []byte("secret/" + name) }
