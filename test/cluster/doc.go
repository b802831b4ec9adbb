// Package cluster runs real agents in one process and checks what they promise
// together: who gets in, what is read after what was written, what goes on
// without a quorum. It holds tests only.
package cluster
