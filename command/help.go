package command

import (
	"fmt"
	"strings"
)

const helpWidth = 80

// help is the long help of a command.
func (c *Command) help(name string) string {
	var b strings.Builder
	b.WriteString(c.usage(name) + "\n\n")
	b.WriteString(wrap(c.Synopsis+".", "  ", helpWidth))
	for _, paragraph := range strings.Split(strings.TrimSpace(c.Help), "\n\n") {
		if paragraph != "" {
			b.WriteString("\n" + wrap(paragraph, "  ", helpWidth))
		}
	}
	if c.Examples != "" {
		b.WriteString("\nExamples:\n")
		for _, line := range strings.Split(strings.TrimSpace(c.Examples), "\n") {
			b.WriteString("  " + strings.TrimSpace(line) + "\n")
		}
	}
	c.Flags.help(&b)
	return strings.TrimRight(b.String(), "\n")
}

// wrap breaks a paragraph into indented lines of at most width characters. A
// paragraph whose lines begin with a space stays as it is.
func wrap(text, indent string, width int) string {
	var b strings.Builder
	if strings.HasPrefix(text, " ") {
		for _, line := range strings.Split(text, "\n") {
			b.WriteString(indent + line + "\n")
		}
		return b.String()
	}
	column := 0
	for _, word := range strings.Fields(text) {
		switch {
		case column == 0:
			b.WriteString(indent)
			column = len(indent)
		case column+1+len(word) > width:
			b.WriteString("\n" + indent)
			column = len(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	b.WriteByte('\n')
	return b.String()
}

// overview is what "waypoint" alone shows: the commands by group.
func overview(table []entry) string {
	var b strings.Builder
	b.WriteString("Usage: waypoint COMMAND [flags] [arguments]\n\n")
	b.WriteString("Waypoint builds, deploys and releases applications, and stays connected to them.\n")
	width := 0
	for _, e := range table {
		if e.group != "" {
			width = max(width, len(e.name))
		}
	}
	last := ""
	for _, e := range table {
		if e.group == "" {
			continue
		}
		if e.group != last {
			fmt.Fprintf(&b, "\n%s\n", e.group)
			last = e.group
		}
		fmt.Fprintf(&b, "  %-*s  %s\n", width, e.name, e.build().Synopsis)
	}
	b.WriteString(`
Each command explains itself: waypoint COMMAND -h
Environment: WAYPOINT_SERVER_ADDR, WAYPOINT_SERVER_CA, WAYPOINT_SERVER_TOKEN and
WAYPOINT_CONTEXT stand in for the flags -addr, -ca, -token and -context.
Completion for your shell: waypoint -autocomplete-install
`)
	return b.String()
}
