// Package faults runs real nodes under load and disturbs them in every way that
// a test can: each process in a host with a network of its own (test/faults/network),
// a seeded choice of faults, two at a time as well, and workloads whose histories
// are judged (test/faults/check, test/faults/load). A short run belongs to
// "make test"; the long ones have the build tag "faults", and "make faults" runs
// them. docs/reliability.md tells all of it to users.
package faults
