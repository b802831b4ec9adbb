//go:build !break_dedupe

package fsm

// dedupes says that a repeated request gets its first result and does nothing. It
// is false only in builds with the tag break_dedupe, by which the fault suite
// shows that it would notice.
const dedupes = true
