package entrypoint

import (
	"strings"
	"unicode"
)

const maxCauses = 32 // different complaints remembered

// causes remembers what has been complained about, so that each cause is said
// once and not at every try.
type causes map[string]bool

// fresh tells whether a complaint is of a cause that has not been said.
func (c causes) fresh(complaint string) bool {
	key := causeOf(complaint)
	if c[key] || len(c) >= maxCauses {
		return false
	}
	c[key] = true
	return true
}

// causeOf is a complaint without what changes from one try to the next: every
// word with a digit in it, for those are addresses, ports, times, ids and
// counts.
func causeOf(complaint string) string {
	words := strings.FieldsFunc(complaint, func(r rune) bool {
		return unicode.IsSpace(r) || strings.ContainsRune(`"'(),;`, r)
	})
	for i, word := range words {
		if strings.ContainsFunc(word, unicode.IsDigit) {
			words[i] = "#"
		}
	}
	return strings.Join(words, " ")
}
