package config

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"waypoint/errs"
)

// diagnosticsError turns faults of a file into one error, a line for each.
// Paths are shown relative to dir.
func diagnosticsError(diags hcl.Diagnostics, dir string) error {
	var lines []string
	for _, diag := range diags.Errs() {
		d, ok := diag.(*hcl.Diagnostic)
		if !ok {
			lines = append(lines, diag.Error())
			continue
		}
		where := FileName
		if d.Subject != nil {
			where = position(*d.Subject, dir)
		}
		lines = append(lines, fmt.Sprintf("%s: %s: %s", where, d.Summary, d.Detail))
	}
	return errs.New(errs.Invalid, "%s", strings.Join(lines, "\n"))
}

func position(r hcl.Range, dir string) string {
	name := r.Filename
	if rel, err := filepath.Rel(dir, name); err == nil {
		name = rel
	}
	return fmt.Sprintf("%s:%d,%d", name, r.Start.Line, r.Start.Column)
}

func fault(at hcl.Range, summary, detail string) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail, Subject: &at}
}

func quote(s string) string { return strconv.Quote(s) }
