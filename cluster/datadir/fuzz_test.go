package datadir

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// Any file of a node's directory may be damaged in any way: what is read of it
// is the same after it was written again, or it is refused and nothing changes.
func FuzzLoad(f *testing.F) {
	names := []string{fileNode, fileKey, fileCert, fileCA, fileKeyring, fileGossip, fileAddresses, filePending}
	path := filepath.Join(f.TempDir(), "data")
	d, err := Create(path)
	if err != nil {
		f.Fatal(err)
	}
	if err := d.Save(material()); err != nil {
		f.Fatal(err)
	}
	if err := d.SaveAddresses(&Addresses{Self: Peer{ID: "N", Addr: "h:1"}, Seeds: []string{"s:1"}}); err != nil {
		f.Fatal(err)
	}
	if err := d.Close(); err != nil {
		f.Fatal(err)
	}
	whole := make([][]byte, len(names))
	for i, name := range names {
		whole[i], _ = os.ReadFile(filepath.Join(path, name))
		f.Add(uint8(i), whole[i])
		f.Add(uint8(i), whole[i][:len(whole[i])/2])
		f.Add(uint8(i), []byte("{}"))
		f.Add(uint8(i), []byte("null"))
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		i := int(which) % len(names)
		file := filepath.Join(path, names[i])
		if err := os.WriteFile(file, data, fileMode); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if whole[i] == nil {
				_ = os.Remove(file)
			} else if err := os.WriteFile(file, whole[i], fileMode); err != nil {
				t.Fatal(err)
			}
		}()
		m, addrs, err := Peek(path)
		if now, readErr := os.ReadFile(file); readErr != nil || !bytes.Equal(now, data) {
			t.Fatalf("reading has changed %s: %v", names[i], readErr)
		}
		if err != nil {
			return
		}
		if m.Node.NodeID == "" || m.Node.ClusterID == "" || len(m.GossipKey) != GossipKeySize || m.Keyring == nil {
			t.Fatalf("half a node was accepted: %+v", m)
		}
		again := &Dir{path: t.TempDir()}
		if err := again.Save(m); err != nil {
			t.Fatal(err)
		}
		if err := again.SaveAddresses(addrs); err != nil {
			t.Fatal(err)
		}
		m2, addrs2, err := Peek(again.path)
		if err != nil || !reflect.DeepEqual(m, m2) || !same(addrs, addrs2) {
			t.Fatalf("%+v, %+v became %+v, %+v: %v", m, addrs, m2, addrs2, err)
		}
	})
}

// same compares what is remembered; a list without entries is as good as none.
func same(a, b *Addresses) bool {
	clean := func(x Addresses) Addresses {
		if len(x.Peers) == 0 {
			x.Peers = nil
		}
		if len(x.Seeds) == 0 {
			x.Seeds = nil
		}
		return x
	}
	return reflect.DeepEqual(clean(*a), clean(*b))
}
