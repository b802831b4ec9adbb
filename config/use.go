package config

import (
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/zclconf/go-cty/cty"
)

// Use is a "use" block: the plugin it names and its body, not yet decoded.
type Use struct {
	Plugin string
	Range  hcl.Range // of the block

	body hcl.Body
	eval *hcl.EvalContext
}

// Decode decodes the body into target, a pointer to a struct with gohcl tags;
// what the struct does not name is an error. objects are offered to the body's
// expressions beside var, path, project, app and workspace: objects["artifact"]["path"] is
// artifact.path. Errors are like those of LoadProject.
func (u *Use) Decode(target any, objects map[string]map[string]string) error {
	eval := u.eval.NewChild()
	eval.Variables = make(map[string]cty.Value, len(objects))
	for name, attrs := range objects {
		values := make(map[string]cty.Value, len(attrs))
		for attr, value := range attrs {
			values[attr] = cty.StringVal(value)
		}
		eval.Variables[name] = cty.ObjectVal(values)
	}
	if diags := gohcl.DecodeBody(u.body, eval, target); diags.HasErrors() {
		return diagnosticsError(diags, filepath.Dir(u.Range.Filename))
	}
	return nil
}

// Position is the block's place in the file, for messages about it.
func (u *Use) Position() string { return position(u.Range, filepath.Dir(u.Range.Filename)) }
