package config

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"waypoint/errs"
)

// EnvPrefix is what the names of environment variables begin with that give
// variables of a project file their values.
const EnvPrefix = "WAYPOINT_VAR_"

// Variables collects values for the variables of the project file at path:
// from environ ("WAYPOINT_VAR_x=v"; names that the file does not declare are
// passed over), then from files of "x = v" lines, then from flags ("x=v").
// Later sources win. Values are text; the result is for LoadProject.
func Variables(path string, flags, files, environ []string) (map[string]string, error) {
	declared, err := declaredVariables(path)
	if err != nil {
		return nil, err
	}
	vars := make(map[string]string)
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if name, ok := strings.CutPrefix(name, EnvPrefix); ok && slices.Contains(declared, name) {
			vars[name] = value
		}
	}
	for _, file := range files {
		values, err := readVarFile(file)
		if err != nil {
			return nil, err
		}
		maps.Copy(vars, values)
	}
	for _, flag := range flags {
		name, value, ok := strings.Cut(flag, "=")
		if !ok || name == "" {
			return nil, errs.New(errs.Invalid, "variable %q: write it as name=value", flag)
		}
		vars[name] = value
	}
	return vars, nil
}

func declaredVariables(path string) ([]string, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, errs.New(errs.NotFound, "read project file: %w", err)
	}
	root, diags := parse(src, path)
	if diags.HasErrors() {
		return nil, diagnosticsError(diags, filepath.Dir(path))
	}
	var names []string
	for _, v := range root.Variables {
		names = append(names, v.Name)
	}
	return names, nil
}

// readVarFile reads a file of attributes, without blocks, references or functions.
func readVarFile(path string) (map[string]string, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, errs.New(errs.NotFound, "read variables: %w", err)
	}
	file, diags := hclsyntax.ParseConfig(src, path, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diagnosticsError(diags, "")
	}
	attrs, diags := file.Body.JustAttributes()
	values := make(map[string]string, len(attrs))
	for name, attr := range attrs {
		value, d := attr.Expr.Value(nil)
		diags = append(diags, d...)
		if d.HasErrors() {
			continue
		}
		text, err := convert.Convert(value, cty.String)
		if err != nil || text.IsNull() || !text.IsKnown() {
			diags = append(diags, fault(attr.Expr.Range(), "Unsuitable value",
				"The value of variable "+quote(name)+" must be a string, a number or a boolean."))
			continue
		}
		values[name] = text.AsString()
	}
	if diags.HasErrors() {
		return nil, diagnosticsError(diags, "")
	}
	return values, nil
}

// variableValues gives every declared variable its value: the given text,
// converted to the type of the default, or the default.
func variableValues(blocks []variableBlock, vars map[string]string) (map[string]cty.Value, hcl.Diagnostics) {
	values := make(map[string]cty.Value, len(blocks))
	var diags hcl.Diagnostics
	for _, block := range blocks {
		if _, twice := values[block.Name]; twice {
			diags = append(diags, fault(block.Default.Range(), "Duplicate variable",
				"A variable named "+quote(block.Name)+" is already in this file."))
			continue
		}
		text, given := vars[block.Name]
		value, d := variableValue(block, text, given)
		values[block.Name] = value
		diags = append(diags, d...)
	}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if _, ok := values[name]; !ok {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Undeclared variable",
				Detail: "A value is given for " + quote(name) + ", but the file has no such variable."})
		}
	}
	return values, diags
}

func variableValue(block variableBlock, text string, given bool) (cty.Value, hcl.Diagnostics) {
	def, diags := block.Default.Value(nil)
	if diags.HasErrors() {
		return cty.DynamicVal, diags
	}
	at := block.Default.Range()
	switch {
	case def.IsNull() && given:
		return cty.StringVal(text), nil
	case def.IsNull():
		return cty.DynamicVal, hcl.Diagnostics{fault(at, "Variable without a value", "Variable "+quote(block.Name)+
			" has no default; give it a value with -var "+block.Name+"=..., a -var-file or "+EnvPrefix+block.Name+".")}
	case !def.Type().IsPrimitiveType():
		return cty.DynamicVal, hcl.Diagnostics{fault(at, "Unsuitable default",
			"The default of variable "+quote(block.Name)+" must be a string, a number or a boolean.")}
	case !given:
		return def, nil
	}
	value, err := convert.Convert(cty.StringVal(text), def.Type())
	if err != nil {
		return cty.DynamicVal, hcl.Diagnostics{fault(at, "Unsuitable value", "The value "+quote(text)+" given for variable "+
			quote(block.Name)+" does not fit its default: "+err.Error()+".")}
	}
	return value, nil
}
