//go:build !break_fencing

package fsm

// fences says that only a job's current attempt may change anything. It is
// false only in builds with the tag break_fencing, by which the fault suite
// shows that it would notice.
const fences = true
