// Package session is what is attached to this node right now: instances and
// runners, what they send up (log lines, output) and what they are sent
// (configuration, exec sessions, work). It holds no truth: who is attached where
// stands in the replicated state, and is put there behind the streams' back so
// that they work without a quorum too.
//
// It must not know gRPC servers, Raft or other nodes: it is given streams, a
// view of the local state and something that applies commands.
package session
