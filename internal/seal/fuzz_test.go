package seal_test

import (
	"bytes"
	"errors"
	"testing"

	"waypoint/internal/seal"
)

// Nothing but what was sealed for it is opened.
func FuzzOpen(f *testing.F) {
	keys := seal.New()
	for _, plaintext := range []string{"", "secret", "a much longer secret that fills more than one block"} {
		envelope, err := keys.Seal([]byte(plaintext), aad, "salt")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(envelope, aad)
		f.Add(envelope, []byte("elsewhere"))
		f.Add(envelope[:len(envelope)-1], aad)
	}
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, envelope, about []byte) {
		plaintext, err := keys.Open(envelope, about)
		if err != nil {
			if plaintext != nil || !errors.Is(err, seal.ErrDamaged) && !errors.Is(err, seal.ErrUnknownKey) {
				t.Fatalf("got %x, %v", plaintext, err)
			}
			// Whatever it is, it can be sealed.
			sealed, err := keys.Seal(envelope, about, "salt")
			if err != nil {
				t.Fatal(err)
			}
			if back, err := keys.Open(sealed, about); err != nil || !bytes.Equal(back, envelope) {
				t.Fatalf("%x came back as %x, %v", envelope, back, err)
			}
			return
		}
		// The keys are new in each process: only the seeds can be genuine.
		if !bytes.Equal(about, aad) {
			t.Fatalf("an envelope for %q was opened for %q", aad, about)
		}
	})
}

// A keyring that is accepted is the same after it was written and read.
func FuzzParse(f *testing.F) {
	data, err := seal.New().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"format":1,"active":"","keys":[]}`))
	f.Add([]byte(`{"format":1,"active":"00","keys":[{"id":"00","key":"AAAA"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := seal.Parse(data)
		if err != nil {
			if keys != nil {
				t.Fatal("a refused keyring is there")
			}
			return
		}
		written, err := keys.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := seal.Parse(written)
		if err != nil {
			t.Fatalf("%s was accepted, but not what was written of it: %v", data, err)
		}
		if twice, err := again.Marshal(); err != nil || !bytes.Equal(twice, written) {
			t.Fatalf("%s became %s, %v", written, twice, err)
		}
		envelope, err := keys.Seal([]byte("x"), aad, "salt")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := again.Open(envelope, aad); err != nil {
			t.Fatal(err)
		}
	})
}
