// Package datadir is a node's data directory: which file holds what, how it is
// made in one piece, and what is said when it is missing or damaged. It must
// not know Raft, gossip or the network.
//
// The files, all of mode 0600 in directories of mode 0700:
//
//	lock            held by the process that uses the directory
//	pending.json    a bootstrap or join that has not finished; gone afterwards
//	node.key        private key, PEM
//	node.crt        certificate, PEM
//	ca.crt          the cluster's CA, PEM
//	root.keyring    the keys that seal the secrets in the state
//	gossip.key      32 bytes in hex
//	raft/           Raft's log and snapshots
//	addresses.json  where this node listened and the others were, for the next start
//	node.json       who this node is; written last, so its presence means complete
package datadir

import (
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"waypoint/errs"
	"waypoint/internal/atomicfile"
	"waypoint/internal/seal"
)

// The names of the files.
const (
	fileLock      = "lock"
	filePending   = "pending.json"
	fileKey       = "node.key"
	fileCert      = "node.crt"
	fileCA        = "ca.crt"
	fileKeyring   = "root.keyring"
	fileGossip    = "gossip.key"
	fileAddresses = "addresses.json"
	fileNode      = "node.json"
	dirRaft       = "raft"
	fileProbe     = ".probe" // there for a moment only
)

// probeSize is how much a probe writes, in bytes: a block at least.
const probeSize = 64 << 10

// format is the version of node.json that this build writes and reads.
const format = 1

// GossipKeySize is the size of a gossip key in bytes: AES-256.
const GossipKeySize = 32

const (
	fileMode = 0o600
	dirMode  = 0o700
)

// Node is what node.json holds.
type Node struct {
	Format    int    `json:"format"`
	ClusterID string `json:"cluster_id"`
	NodeID    string `json:"node_id"`
	Name      string `json:"name"`
}

// Material is everything that makes a node this node. Certificates and key are
// in DER, the key as PKCS #8.
type Material struct {
	Node      Node
	Key       []byte
	Cert      []byte
	CA        []byte
	Keyring   *seal.Keyring
	GossipKey []byte
}

// Dir is a data directory that this process holds locked.
type Dir struct {
	path string
	lock *os.File
}

// Open locks an existing directory.
func Open(path string) (*Dir, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.NotFound, "data directory %s does not exist; start the node with -bootstrap or -join-token first", path)
	}
	return lock(path)
}

// Create makes the directory if it is missing, locks it, and checks that it
// holds no node.
func Create(path string) (*Dir, error) {
	if err := os.MkdirAll(path, dirMode); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	if err := os.Chmod(path, dirMode); err != nil {
		return nil, fmt.Errorf("keep data directory private: %w", err)
	}
	d, err := lock(path)
	if err != nil {
		return nil, err
	}
	if err := d.vacant(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// vacant refuses a directory that holds a node, or the remains of one. A
// bootstrap or join that has not finished is not a node.
func (d *Dir) vacant() error {
	if has(d.file(fileNode)) {
		node, err := d.node()
		if err != nil {
			return err
		}
		return errs.New(errs.AlreadyExists,
			"data directory %s already holds node %s of cluster %s; start it without -bootstrap and -join-token, or choose another directory",
			d.path, node.NodeID, node.ClusterID)
	}
	if has(d.file(filePending)) {
		return nil
	}
	for _, name := range []string{fileKey, fileCert, fileKeyring, fileGossip, dirRaft} {
		if has(d.file(name)) {
			return errs.New(errs.Conflict,
				"data directory %s holds %s but no %s: it is a damaged node; restore the file or choose another directory",
				d.path, name, fileNode)
		}
	}
	return nil
}

func has(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (d *Dir) file(name string) string { return filepath.Join(d.path, name) }

// Path returns the directory itself.
func (d *Dir) Path() string { return d.path }

// Raft returns the directory of Raft's files.
func (d *Dir) Raft() string { return d.file(dirRaft) }

// Close unlocks the directory.
func (d *Dir) Close() error { return d.lock.Close() }

// Load reads what makes the node. Its errors name the file and what to do.
func (d *Dir) Load() (*Material, error) { return load(d) }

// Peek reads the same without the lock, beside a running node.
func Peek(path string) (*Material, *Addresses, error) {
	d := &Dir{path: path}
	m, err := load(d)
	if err != nil {
		return nil, nil, err
	}
	addrs, err := d.Addresses()
	return m, addrs, err
}

func load(d *Dir) (*Material, error) {
	if !has(d.file(fileNode)) {
		return nil, d.incomplete()
	}
	m := &Material{}
	steps := []struct {
		name string
		read func(path string) error
	}{
		{fileNode, func(string) (err error) { m.Node, err = d.node(); return err }},
		{fileKey, func(p string) (err error) { m.Key, err = readPEM(p, "PRIVATE KEY"); return err }},
		{fileCert, func(p string) (err error) { m.Cert, err = readPEM(p, "CERTIFICATE"); return err }},
		{fileCA, func(p string) (err error) { m.CA, err = readPEM(p, "CERTIFICATE"); return err }},
		{fileKeyring, func(p string) (err error) { m.Keyring, err = seal.Load(p); return err }},
		{fileGossip, func(p string) (err error) { m.GossipKey, err = readHex(p); return err }},
	}
	for _, s := range steps {
		if err := s.read(d.file(s.name)); err != nil {
			return nil, d.Damaged(s.name, err)
		}
	}
	return m, nil
}

// Damaged says that a file of the directory cannot be used and what to do.
func (d *Dir) Damaged(name string, err error) error {
	return errs.New(errs.Internal,
		"%s is missing or damaged: %w; nothing was changed: restore the file, or remove this node from the cluster and join again with an empty data directory",
		d.file(name), err)
}

func (d *Dir) incomplete() error {
	if has(d.file(filePending)) {
		return errs.New(errs.Conflict,
			"data directory %s holds a bootstrap or join that did not finish; run the same command again", d.path)
	}
	if err := d.vacant(); err != nil {
		return err
	}
	return errs.New(errs.NotFound, "data directory %s holds no node; start it with -bootstrap or -join-token first", d.path)
}

func (d *Dir) node() (Node, error) {
	var n Node
	if err := readJSON(d.file(fileNode), &n); err != nil {
		return n, d.Damaged(fileNode, err)
	}
	if n.Format != format {
		return n, errs.New(errs.Conflict, "%s has format %d, this build reads format %d: use the release that wrote it or a later one",
			d.file(fileNode), n.Format, format)
	}
	if n.ClusterID == "" || n.NodeID == "" {
		return n, d.Damaged(fileNode, errors.New("it names no cluster or node"))
	}
	return n, nil
}

// Save writes the node's files, node.json last, and so completes a bootstrap or
// join.
func (d *Dir) Save(m *Material) error {
	if err := d.SaveKey(m.Key); err != nil {
		return err
	}
	if err := writePEM(d.file(fileCert), "CERTIFICATE", m.Cert); err != nil {
		return err
	}
	if err := writePEM(d.file(fileCA), "CERTIFICATE", m.CA); err != nil {
		return err
	}
	if err := m.Keyring.Save(d.file(fileKeyring)); err != nil {
		return err
	}
	key := []byte(hex.EncodeToString(m.GossipKey) + "\n")
	if err := atomicfile.Write(d.file(fileGossip), key, fileMode); err != nil {
		return err
	}
	m.Node.Format = format
	if err := writeJSON(d.file(fileNode), m.Node); err != nil {
		return err
	}
	if err := os.Remove(d.file(filePending)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return atomicfile.SyncDir(d.path)
}

// SaveKey writes the node's private key alone.
func (d *Dir) SaveKey(der []byte) error { return writePEM(d.file(fileKey), "PRIVATE KEY", der) }

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(path, append(data, '\n'), fileMode)
}

func readPEM(path, kind string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("it holds no PEM block %q", kind)
	}
	return block.Bytes, nil
}

func writePEM(path, kind string, der []byte) error {
	return atomicfile.Write(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), fileMode)
}

func readHex(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(data)))
	if err == nil && len(key) != GossipKeySize {
		err = fmt.Errorf("it holds %d bytes instead of %d", len(key), GossipKeySize)
	}
	return key, err
}
