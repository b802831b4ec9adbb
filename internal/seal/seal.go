// Package seal encrypts values with a keyring so that they can be stored and
// replicated where the keys are not. Sealing is deterministic for one salt: a
// request that is tried again seals to the same bytes.
//
// It must not know what the values are or where they are kept.
package seal

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// An envelope is: one byte of format, the id of the key, the nonce, and the
// ciphertext with its tag. Format and key id are authenticated too.
const (
	format     = 1
	idSize     = 8
	headerSize = 1 + idSize
	nonceSize  = chacha20poly1305.NonceSizeX
)

var (
	// ErrUnknownKey is returned when an envelope names a key that the keyring
	// does not hold.
	ErrUnknownKey = errors.New("sealed with a key that is not in the keyring")
	// ErrDamaged is returned when an envelope is malformed, was changed, or was
	// sealed for something else (other aad).
	ErrDamaged = errors.New("sealed value is damaged or belongs elsewhere")
)

// Seal encrypts plaintext with the active key. The aad is not secret: it says
// what the value belongs to, and Open must be given the same. The salt makes
// equal values that were sealed by different requests look different.
func (k *Keyring) Seal(plaintext, aad []byte, salt string) ([]byte, error) {
	active, ok := k.keys[k.active]
	if !ok {
		return nil, fmt.Errorf("seal: %w", ErrUnknownKey)
	}
	nonce := active.nonceOf([]byte(salt), aad, plaintext)
	envelope := make([]byte, 0, headerSize+nonceSize+len(plaintext)+active.aead.Overhead())
	envelope = append(envelope, format)
	envelope = append(envelope, k.active[:]...)
	header := envelope[:headerSize:headerSize]
	envelope = append(envelope, nonce...)
	return active.aead.Seal(envelope, nonce, plaintext, join(header, aad)), nil
}

// Open returns what was sealed. The error is ErrUnknownKey or ErrDamaged.
func (k *Keyring) Open(envelope, aad []byte) ([]byte, error) {
	if len(envelope) < headerSize+nonceSize || envelope[0] != format {
		return nil, ErrDamaged
	}
	key, ok := k.keys[keyID(envelope[1:headerSize])]
	if !ok {
		return nil, ErrUnknownKey
	}
	header, rest := envelope[:headerSize], envelope[headerSize:]
	plaintext, err := key.aead.Open(nil, rest[:nonceSize], rest[nonceSize:], join(header, aad))
	if err != nil {
		return nil, ErrDamaged
	}
	return plaintext, nil
}

// nonceOf is a keyed hash of everything that goes into an envelope: the same
// nonce is used twice only for the same bytes.
func (k key) nonceOf(parts ...[]byte) []byte {
	h := hmac.New(sha256.New, k.nonce)
	h.Write(join(parts...))
	return h.Sum(nil)[:nonceSize]
}

// derive returns a key of its own for each purpose.
func (s secret) derive(purpose string, size int) ([]byte, error) {
	return hkdf.Key(sha256.New, s[:], nil, "waypoint seal "+purpose, size)
}

// join concatenates parts so that no two lists give the same bytes.
func join(parts ...[]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = binary.BigEndian.AppendUint64(all, uint64(len(p)))
		all = append(all, p...)
	}
	return all
}
