//go:build break_readindex

package cluster

// confirmsReads is broken on purpose: a node answers with what it happens to
// know. Tests build this to show that the fault suite notices; see readindex.go.
const confirmsReads = false
