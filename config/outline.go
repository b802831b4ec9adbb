package config

import (
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"

	"waypoint/errs"
)

// Outline is what a project file says of itself without being evaluated. It
// needs no values for the file's variables, so it suits whoever wants the names
// only.
type Outline struct {
	Path     string // absolute path of the file
	Dir      string // its folder
	Name     string
	Apps     []string // their names, in the file's order
	Required []string // the variables that have no default, in the file's order
}

// Has tells whether the file has an app of that name.
func (o *Outline) Has(app string) bool {
	for _, name := range o.Apps {
		if name == app {
			return true
		}
	}
	return false
}

// LoadOutline reads the project file at path. What is wrong with its outer
// blocks or with a name is an error like those of LoadProject; the inside of
// apps is not looked at.
func LoadOutline(path string) (*Outline, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, errs.New(errs.Invalid, "read project file: %w", err)
	}
	src, err := os.ReadFile(abs)
	if err != nil {
		return nil, errs.New(errs.NotFound, "read project file: %w", err)
	}
	root, diags := parse(src, abs)
	if diags.HasErrors() {
		return nil, diagnosticsError(diags, filepath.Dir(abs))
	}
	outline := &Outline{Path: abs, Dir: filepath.Dir(abs)}
	if diags := outline.read(root); diags.HasErrors() {
		return nil, diagnosticsError(diags, outline.Dir)
	}
	return outline, nil
}

func (o *Outline) read(root *rootBlock) hcl.Diagnostics {
	name, diags := root.name()
	o.Name = name
	for _, v := range root.Variables {
		if def, d := v.Default.Value(nil); !d.HasErrors() && def.IsNull() {
			o.Required = append(o.Required, v.Name)
		}
	}
	for _, app := range root.Apps {
		d := checkName(app.Name, "app", app.Body.MissingItemRange())
		if o.Has(app.Name) {
			d = append(d, duplicateApp(app))
		}
		diags = append(diags, d...)
		o.Apps = append(o.Apps, app.Name)
	}
	return diags
}

// name is the project's, which depends on nothing.
func (r *rootBlock) name() (string, hcl.Diagnostics) {
	var name string
	if diags := require(r.Project, "project", nil, &name); diags.HasErrors() {
		return "", diags
	}
	return name, checkName(name, "project", r.Project.Range())
}

func duplicateApp(header appHeader) *hcl.Diagnostic {
	return fault(header.Body.MissingItemRange(), "Duplicate app", "An app named "+quote(header.Name)+" is already in this file.")
}
