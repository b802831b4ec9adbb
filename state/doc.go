// Package state holds the replicated tables: projects, configuration, the
// records of operations, what is attached where, jobs, tokens, nodes, and the
// memory of request ids. It offers consistent reads with watches, the entries
// and transactions that package fsm runs commands in, and the snapshot codec.
// Readers see whole entries only, so what they read is exactly the state that
// its index names.
//
// There is one file per kind of object: its table, its indexes and its
// queries. A new kind is one such file and its lines in tables.go and tx.go.
//
// Rows are protobuf messages, shared between readers and never changed in
// place: whoever wants to change one clones it and puts the clone.
//
// The package must not know Raft, the clock, the network, or how to open a
// sealed value. Everything in it is a function of what was put into it.
package state
