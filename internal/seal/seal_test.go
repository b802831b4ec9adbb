package seal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waypoint/internal/seal"
)

var aad = []byte("config/p/a/w/NAME")

func sealed(t *testing.T, k *seal.Keyring, plaintext, salt string) []byte {
	t.Helper()
	envelope, err := k.Seal([]byte(plaintext), aad, salt)
	if err != nil {
		t.Fatal(err)
	}
	return envelope
}

func TestWhatWasSealedOpens(t *testing.T) {
	k := seal.New()
	for _, plaintext := range []string{"", "hunter2", strings.Repeat("long", 10_000)} {
		envelope := sealed(t, k, plaintext, "01REQ")
		if len(plaintext) > 0 && bytes.Contains(envelope, []byte(plaintext)) {
			t.Error("the envelope shows the value")
		}
		got, err := k.Open(envelope, aad)
		if err != nil || string(got) != plaintext {
			t.Errorf("Open gave %d bytes, %v", len(got), err)
		}
	}
}

func TestARetrySealsToTheSameBytes(t *testing.T) {
	k := seal.New()
	first := sealed(t, k, "value", "01REQ")
	if !bytes.Equal(first, sealed(t, k, "value", "01REQ")) {
		t.Error("the same request sealed to other bytes")
	}
	if bytes.Equal(first, sealed(t, k, "value", "02REQ")) {
		t.Error("another request's equal value can be recognized")
	}
	other, err := k.Seal([]byte("value"), []byte("config/p/a/w/OTHER"), "01REQ")
	if err != nil || bytes.Equal(first, other) {
		t.Errorf("another name's equal value can be recognized (%v)", err)
	}
}

func TestOpenRefusesWhatWasChangedOrBelongsElsewhere(t *testing.T) {
	k := seal.New()
	envelope := sealed(t, k, "value", "s")
	if _, err := k.Open(envelope, []byte("config/other")); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("other aad: %v", err)
	}
	for i := range envelope {
		changed := bytes.Clone(envelope)
		changed[i] ^= 1
		if _, err := k.Open(changed, aad); err == nil {
			t.Errorf("a change of byte %d goes unnoticed", i)
		}
	}
	for n := range envelope {
		if _, err := k.Open(envelope[:n], aad); err == nil {
			t.Errorf("the first %d bytes open", n)
		}
	}
}

func TestAnEnvelopeOfAKeyThatIsNotThereSaysSo(t *testing.T) {
	if _, err := seal.New().Open(sealed(t, seal.New(), "v", "s"), aad); !errors.Is(err, seal.ErrUnknownKey) {
		t.Errorf("Open = %v", err)
	}
}

func TestAKeyringSurvivesItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.json")
	k := seal.New()
	if err := k.Save(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v (%v)", info.Mode(), err)
	}
	loaded, err := seal.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := loaded.Open(sealed(t, k, "v", "s"), aad); err != nil || string(got) != "v" {
		t.Errorf("Open = %q, %v", got, err)
	}
	if !bytes.Equal(sealed(t, k, "v", "s"), sealed(t, loaded, "v", "s")) {
		t.Error("the loaded keyring seals otherwise")
	}
	if _, err := seal.Load(path + ".none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Load of no file = %v", err)
	}
}

type keyringFile struct {
	Format int    `json:"format"`
	Active string `json:"active"`
	Keys   []struct {
		ID  string `json:"id"`
		Key []byte `json:"key"`
	} `json:"keys"`
}

func stored(t *testing.T, k *seal.Keyring) keyringFile {
	t.Helper()
	data, err := k.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var f keyringFile
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func parse(t *testing.T, f keyringFile) (*seal.Keyring, error) {
	t.Helper()
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return seal.Parse(data)
}

func TestAnOldKeyStillOpensAndTheActiveOneSeals(t *testing.T) {
	older, newer := seal.New(), seal.New()
	both := stored(t, newer)
	both.Keys = append(both.Keys, stored(t, older).Keys...)
	k, err := parse(t, both)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.Open(sealed(t, older, "old", "s"), aad); err != nil || string(got) != "old" {
		t.Errorf("Open = %q, %v", got, err)
	}
	if got, err := newer.Open(sealed(t, k, "new", "s"), aad); err != nil || string(got) != "new" {
		t.Errorf("the active key did not seal: %q, %v", got, err)
	}
}

func TestADamagedKeyringIsRefused(t *testing.T) {
	damage := map[string]func(*keyringFile){
		"bit flip in a key": func(f *keyringFile) { f.Keys[0].Key[3] ^= 1 },
		"short key":         func(f *keyringFile) { f.Keys[0].Key = f.Keys[0].Key[:31] },
		"active key gone":   func(f *keyringFile) { f.Keys = nil },
		"no active key":     func(f *keyringFile) { f.Active = "" },
		"newer format":      func(f *keyringFile) { f.Format = 2 },
	}
	for name, hurt := range damage {
		f := stored(t, seal.New())
		hurt(&f)
		if _, err := parse(t, f); err == nil {
			t.Errorf("%s: it was accepted", name)
		}
	}
	if _, err := seal.Parse([]byte("secret")); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("not JSON: %v", err)
	}
}
