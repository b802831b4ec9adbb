//go:build break_dedupe

package fsm

// dedupes is broken on purpose: a repeated request is done again. Tests build
// this to show that the fault suite notices; see dedupe.go.
const dedupes = false
