package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"

	"waypoint/internal/atomicfile"
)

// fileMode keeps keys to the user that the node runs as.
const fileMode = 0o600

type (
	secret [chacha20poly1305.KeySize]byte
	keyID  [idSize]byte // derived from the secret, so it also tells a damaged one
)

// key is a secret with what is derived from it, one for each purpose.
type key struct {
	secret
	aead  cipher.AEAD
	nonce []byte
}

func newKey(s secret) (k key, err error) {
	sub, err := s.derive("encrypt", chacha20poly1305.KeySize)
	if err != nil {
		return key{}, err
	}
	k.secret = s
	if k.aead, err = chacha20poly1305.NewX(sub); err != nil {
		return key{}, err
	}
	k.nonce, err = s.derive("nonce", sha256.Size)
	return k, err
}

// Keyring holds several keys, of which one, the active one, seals; all open.
// It does not change and may be shared.
type Keyring struct {
	keys   map[keyID]key
	active keyID
}

// New returns a keyring with one new random key.
func New() *Keyring {
	var s secret
	// It never fails and never returns less: see crypto/rand.Read. Nor do
	// derivations of these sizes.
	_, _ = rand.Read(s[:])
	k, _ := newKey(s)
	return &Keyring{keys: map[keyID]key{s.id(): k}, active: s.id()}
}

// file is the stored form of a keyring.
type file struct {
	Format int       `json:"format"`
	Active string    `json:"active"` // a key's id
	Keys   []fileKey `json:"keys"`   // sorted by id
}

type fileKey struct {
	ID  string `json:"id"`  // hex
	Key []byte `json:"key"` // base64
}

// Marshal returns the keyring's stored form. It holds the keys themselves.
func (k *Keyring) Marshal() ([]byte, error) {
	f := file{Format: format, Active: hex.EncodeToString(k.active[:])}
	for id, key := range k.keys {
		f.Keys = append(f.Keys, fileKey{ID: hex.EncodeToString(id[:]), Key: key.secret[:]})
	}
	slices.SortFunc(f.Keys, func(a, b fileKey) int { return bytes.Compare([]byte(a.ID), []byte(b.ID)) })
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("marshal keyring: %w", err)
	}
	return append(data, '\n'), nil
}

// Parse is the inverse of Marshal. It refuses a keyring that is damaged: one
// whose keys do not fit their ids, or that lacks its active key.
func Parse(data []byte) (*Keyring, error) {
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		// The decoder's error may quote what it read, which is secret.
		return nil, errors.New("keyring is damaged: not the JSON that it was written as")
	}
	if f.Format != format {
		return nil, fmt.Errorf("keyring has format %d, this build reads %d", f.Format, format)
	}
	k := &Keyring{keys: make(map[keyID]key, len(f.Keys))}
	for _, stored := range f.Keys {
		if len(stored.Key) != chacha20poly1305.KeySize {
			return nil, fmt.Errorf("keyring is damaged: key %s has %d bytes", stored.ID, len(stored.Key))
		}
		key, err := newKey(secret(stored.Key))
		if err != nil {
			return nil, fmt.Errorf("keyring: %w", err)
		}
		id := key.id()
		if hex.EncodeToString(id[:]) != stored.ID {
			return nil, fmt.Errorf("keyring is damaged: key %s is not the one its id says", stored.ID)
		}
		k.keys[id] = key
		if stored.ID == f.Active {
			k.active = id
		}
	}
	if _, ok := k.keys[k.active]; !ok {
		return nil, fmt.Errorf("keyring is damaged: its active key %q is missing", f.Active)
	}
	return k, nil
}

// Load reads a keyring from a file.
func Load(path string) (*Keyring, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load keyring: %w", err)
	}
	k, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	return k, nil
}

// Save replaces the file at path with the keyring; only its owner can read it.
func (k *Keyring) Save(path string) error {
	data, err := k.Marshal()
	if err != nil {
		return err
	}
	return atomicfile.Write(path, data, fileMode)
}

func (s secret) id() keyID {
	sum := sha256.Sum256(append([]byte("waypoint key id "), s[:]...))
	return keyID(sum[:idSize])
}
