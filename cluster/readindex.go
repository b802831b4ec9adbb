//go:build !break_readindex

package cluster

// confirmsReads says that current reads ask the leader, which confirms itself,
// for a read index. It is false only in builds with the tag break_readindex, by
// which the fault suite shows that it would notice.
const confirmsReads = true
