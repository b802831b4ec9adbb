package datadir

import (
	"errors"
	"io/fs"
	"time"
)

// Addresses is what addresses.json holds. It is a memory for the next start,
// not an authority.
type Addresses struct {
	Configured Configured `json:"configured"`
	Self       Peer       `json:"self"`            // as last advertised
	Peers      []Peer     `json:"peers,omitempty"` // the other members
	Seeds      []string   `json:"seeds,omitempty"` // API addresses from the join token
}

// Configured are the settings of the last start, for one that names none.
type Configured struct {
	Listen          string `json:"listen,omitempty"`
	Advertise       string `json:"advertise,omitempty"`
	Gossip          string `json:"gossip,omitempty"`
	GossipAdvertise string `json:"gossip_advertise,omitempty"`
	Profile         string `json:"profile,omitempty"`
	// SnapshotAfter is in log entries, SnapshotEvery in nanoseconds; 0: the default.
	SnapshotAfter uint64        `json:"snapshot_after,omitempty"`
	SnapshotEvery time.Duration `json:"snapshot_every,omitempty"`
}

// Peer is where a member was.
type Peer struct {
	ID         string `json:"id"`
	Addr       string `json:"addr,omitempty"`
	GossipAddr string `json:"gossip_addr,omitempty"`
}

// Addresses reads what was remembered; nothing, if nothing was.
func (d *Dir) Addresses() (*Addresses, error) {
	a := &Addresses{}
	err := readJSON(d.file(fileAddresses), a)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, d.Damaged(fileAddresses, err)
	}
	return a, nil
}

// SaveAddresses replaces what is remembered.
func (d *Dir) SaveAddresses(a *Addresses) error { return writeJSON(d.file(fileAddresses), a) }
