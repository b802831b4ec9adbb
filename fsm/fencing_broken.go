//go:build break_fencing

package fsm

// fences is broken on purpose: any attempt at a running job counts as its
// current one. Tests build this to show that the fault suite notices; see
// fencing.go.
const fences = false
