package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"waypoint/errs"
)

// Pending is what pending.json holds: what a bootstrap or join had decided
// before it could be interrupted.
type Pending struct {
	Operation string `json:"operation"` // "bootstrap" or "join"
	NodeID    string `json:"node_id"`
	TokenID   string `json:"token_id,omitempty"` // of the join token
}

// Pending returns the join or bootstrap that was interrupted; nil if there is
// none.
func (d *Dir) Pending() (*Pending, error) {
	p := &Pending{}
	err := readJSON(d.file(filePending), p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, errs.New(errs.Internal, "%s is damaged: %w; empty the data directory and start again", d.file(filePending), err)
	}
	return p, nil
}

// Begin notes that p goes on and removes what an earlier try has left. The
// directory is Create's: it holds no node that ever ran.
func (d *Dir) Begin(p Pending) error {
	if err := writeJSON(d.file(filePending), p); err != nil {
		return err
	}
	for _, name := range []string{fileKey, fileCert, fileCA, fileKeyring, fileGossip, fileAddresses, dirRaft} {
		if err := os.RemoveAll(d.file(name)); err != nil {
			return fmt.Errorf("remove what an interrupted start left: %w", err)
		}
	}
	return nil
}

// PendingKey returns the private key that an interrupted join had made.
func (d *Dir) PendingKey() ([]byte, error) {
	return readPEM(d.file(fileKey), "PRIVATE KEY")
}
