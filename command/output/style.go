package output

import "hash/fnv"

// Style writes text in colour, or as it is when colours are off.
type Style struct {
	On bool
}

const (
	reset  = "\x1b[0m"
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
)

func (s Style) paint(code, text string) string {
	if !s.On {
		return text
	}
	return code + text + reset
}

// Bold, Dim, Good, Bad and Warn are the styles in use.
func (s Style) Bold(text string) string { return s.paint(bold, text) }

// Dim is for what matters less.
func (s Style) Dim(text string) string { return s.paint(dim, text) }

// Good is for success.
func (s Style) Good(text string) string { return s.paint(green, text) }

// Bad is for failure.
func (s Style) Bad(text string) string { return s.paint(red, text) }

// Warn is for what a person should look at.
func (s Style) Warn(text string) string { return s.paint(yellow, text) }

// Named paints a text in a colour that belongs to the name, the same each time.
func (s Style) Named(name, text string) string {
	palette := [...]string{"\x1b[36m", "\x1b[35m", "\x1b[34m", "\x1b[33m", "\x1b[32m", "\x1b[96m", "\x1b[95m", "\x1b[94m"}
	h := fnv.New32a()
	h.Write([]byte(name))
	return s.paint(palette[h.Sum32()%uint32(len(palette))], text)
}
