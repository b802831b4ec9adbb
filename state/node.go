package state

import (
	"slices"

	"waypoint/api/clusterpb"
)

func nodeTable() *table[*clusterpb.Node] {
	return &table[*clusterpb.Node]{
		name: "nodes",
		id:   func(n *clusterpb.Node) []byte { return key{}.str(n.GetId()) },
		indexes: []index[*clusterpb.Node]{
			{name: "name", key: func(n *clusterpb.Node) []byte { return key{}.str(n.GetName()) }},
		},
	}
}

type nodeQueries struct{ *reader }

// Node returns the membership record of a server node.
func (q nodeQueries) Node(id string) *clusterpb.Node {
	return q.tables.nodes.get(q.reader, key{}.str(id))
}

// NodeByName returns the node that has the name.
func (q nodeQueries) NodeByName(name string) *clusterpb.Node {
	for n := range q.tables.nodes.ascend(q.reader, "name", key{}.str(name)) {
		return n
	}
	return nil
}

// Nodes lists all server nodes, sorted by name.
func (q nodeQueries) Nodes() []*clusterpb.Node {
	return slices.Collect(q.tables.nodes.ascend(q.reader, "name", nil))
}
