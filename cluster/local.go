package cluster

import (
	"crypto/tls"
	"fmt"

	"waypoint/cluster/datadir"
	"waypoint/cluster/pki"
	"waypoint/errs"
)

// LocalCredentials returns what a program on a node's own host, that may read
// its data directory, needs to call that node as a node: the TLS configuration
// and the address. It works beside the running node.
func LocalCredentials(dataDir string) (*tls.Config, string, error) {
	m, addrs, err := datadir.Peek(dataDir)
	if err != nil {
		return nil, "", fmt.Errorf("read node credentials: %w", err)
	}
	key, err := pki.ParseKey(m.Key)
	if err != nil {
		return nil, "", fmt.Errorf("read node credentials: %w", err)
	}
	identity, err := pki.NewIdentity(m.Node.ClusterID, m.Node.NodeID, m.Cert, m.CA, key)
	if err != nil {
		return nil, "", fmt.Errorf("read node credentials: %w", err)
	}
	if addrs.Self.Addr == "" {
		return nil, "", errs.New(errs.Conflict, "the node of %s has never run: start it first", dataDir)
	}
	return identity.Client(m.Node.NodeID, pki.ALPNGRPC), addrs.Self.Addr, nil
}
