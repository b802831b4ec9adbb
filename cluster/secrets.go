package cluster

import (
	"bytes"
	"fmt"
	"sync/atomic"

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

// opened is a secret that was opened last. It is asked for with each call.
type opened struct {
	last atomic.Pointer[struct{ sealed, value []byte }]
}

// open is openSecret, of the same name each time. The caller must not change
// what it gets.
func (o *opened) open(store *state.Store, keys *seal.Keyring, name string) ([]byte, error) {
	sealed := store.Read().Secret(name)
	if last := o.last.Load(); last != nil && bytes.Equal(last.sealed, sealed) {
		return last.value, nil
	}
	value, err := openSealed(keys, name, sealed)
	if err == nil {
		o.last.Store(&struct{ sealed, value []byte }{sealed, value})
	}
	return value, err
}

func openSecret(store *state.Store, keys *seal.Keyring, name string) ([]byte, error) {
	return openSealed(keys, name, store.Read().Secret(name))
}

func openSealed(keys *seal.Keyring, name string, sealed []byte) ([]byte, error) {
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
