package imports

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The longest that code may grow, in lines; and types, in fields and methods.
const (
	maxFile     = 500
	maxFunction = 80
	maxFields   = 20
	maxMethods  = 15 // exported
	maxAll      = 40 // methods, exported or not
)

// source is one parsed Go file of this module.
type source struct {
	pkg       goPackage
	name      string // below the module's root
	files     *token.FileSet
	tree      *ast.File
	test      bool
	generated bool
}

func TestSource(t *testing.T) {
	all := sources(t)
	t.Run("every package says what it is for", func(t *testing.T) { packageComments(t, all) })
	t.Run("exported names say what they are", func(t *testing.T) { nameComments(t, all) })
	t.Run("nothing calls what is banned", func(t *testing.T) { bannedCalls(t, all) })
	t.Run("nothing grows too long", func(t *testing.T) { lengths(t, all) })
}

// sources parses every file that belongs to a package of this module; of
// generated ones only what stands before the declarations.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	files := token.NewFileSet()
	for _, p := range modulePackages(t) {
		code := len(p.GoFiles)
		for i, name := range append(append(p.GoFiles, p.TestGoFiles...), p.XTestGoFiles...) {
			mode := parser.ParseComments | parser.SkipObjectResolution
			generated := strings.HasSuffix(name, ".pb.go")
			if generated {
				mode = parser.ParseComments | parser.PackageClauseOnly
			}
			tree, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, mode)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, source{
				pkg: p, name: short(p.ImportPath) + "/" + name, files: files, tree: tree,
				test: i >= code, generated: generated,
			})
		}
	}
	return all
}

func (s source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.name, s.files.Position(n.Pos()).Line)
}

func (s source) lines(n ast.Node) int {
	return s.files.Position(n.End()).Line - s.files.Position(n.Pos()).Line + 1
}

func packageComments(t *testing.T, all []source) {
	t.Helper()
	comments := map[string]string{}
	names := map[string]string{}
	for _, s := range all {
		path := short(s.pkg.ImportPath)
		names[path] = s.pkg.Name
		if s.tree.Doc != nil && !strings.HasSuffix(s.tree.Name.Name, "_test") {
			comments[path] += s.tree.Doc.Text()
		}
		if s.generated && len(s.tree.Comments) > 1 {
			// The generator leaves a line between the comment and the package.
			comments[path] = s.tree.Comments[1].Text()
		}
	}
	for path, name := range names {
		start := "Package " + name + " "
		switch base := filepath.Base(path); {
		case name == "main" && strings.HasPrefix(comments[path], strings.ToUpper(base[:1])+base[1:]+" "):
			continue // as the toolchain's own commands do it
		case name == "main":
			start = "Command " + base + " "
		case below(path, "api"):
			start = "Package " + module + "."
		}
		if !strings.HasPrefix(comments[path], start) {
			t.Errorf("%s has no comment that begins with %q and says what it is for and what it must not know", path, start)
		}
	}
}

func bannedCalls(t *testing.T, all []source) {
	t.Helper()
	for _, s := range all {
		if s.generated {
			continue
		}
		ast.Inspect(s.tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if why := bannedCall(s, n); why != "" {
					t.Errorf("%s: %s", s.at(n), why)
				}
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" {
					t.Errorf("%s: func init runs behind everybody's back: call it from a constructor or from main", s.at(n))
				}
			}
			return true
		})
	}
}

// bannedCall says why sel may not stand in s, or nothing.
func bannedCall(s source, sel *ast.SelectorExpr) string {
	pkg, ok := sel.X.(*ast.Ident)
	if !ok {
		return stampedByClock(s, sel)
	}
	call := pkg.Name + "." + sel.Sel.Name
	switch call {
	case "context.Background", "context.TODO":
		if !s.test && s.pkg.Name != "main" && !below(short(s.pkg.ImportPath), "test") {
			return call + " outside of main and tests: take the context from the caller"
		}
	case "time.Sleep":
		return "time.Sleep waits for nothing in particular: wait for a channel, a timer beside a context, or with internal/wait in tests"
	case "timestamppb.Now":
		if stamps(s) {
			return call + stampWhy
		}
	case "time.Now", "time.Since", "time.Until":
		if !s.test && deterministic(short(s.pkg.ImportPath)) {
			return call + " in the state machine: nodes would differ; use the entry's time"
		}
	}
	return ""
}

const stampWhy = " as a time that others see: use the cluster's time, or clock.Now, which tests can set wrong"

// stampedByClock says why the time of a clock may not be taken for a stamp, if
// sel is time.Now().Unix() or one of its like.
func stampedByClock(s source, sel *ast.SelectorExpr) string {
	call, ok := sel.X.(*ast.CallExpr)
	if !ok || !strings.HasPrefix(sel.Sel.Name, "Unix") || !stamps(s) {
		return ""
	}
	of, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || of.Sel.Name != "Now" {
		return ""
	}
	if pkg, ok := of.X.(*ast.Ident); !ok || pkg.Name != "time" {
		return ""
	}
	return "time.Now()." + sel.Sel.Name + stampWhy
}

// stamps tells whether what s stamps is seen by others.
func stamps(s source) bool {
	pkg := short(s.pkg.ImportPath)
	return !s.test && !below(pkg, "test") && !below(pkg, "scripts") && !below(pkg, "rpc/rpctest")
}

func TestTheStateMachineTouchesNothingOutside(t *testing.T) {
	for _, p := range modulePackages(t) {
		if !deterministic(short(p.ImportPath)) {
			continue
		}
		for _, path := range p.Imports {
			if why, ok := stateMachineNever()[path]; ok {
				t.Errorf("%s imports %s: %s", short(p.ImportPath), path, why)
			}
		}
	}
}

func deterministic(pkg string) bool { return below(pkg, "state") || below(pkg, "fsm") }

func lengths(t *testing.T, all []source) {
	t.Helper()
	exported, every := map[string]int{}, map[string]int{}
	for _, s := range all {
		if s.generated {
			continue
		}
		if n := s.files.File(s.tree.Pos()).LineCount(); n > maxFile {
			t.Errorf("%s has %d lines, at most %d: split it by what its parts are about", s.name, n, maxFile)
		}
		ast.Inspect(s.tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if lines := s.lines(n); lines > maxFunction && !s.test {
					t.Errorf("%s: %s has %d lines, at most %d", s.at(n), n.Name.Name, lines, maxFunction)
				}
				if n.Recv == nil || s.test {
					return true
				}
				name := short(s.pkg.ImportPath) + "." + receiver(n)
				every[name]++
				if n.Name.IsExported() {
					exported[name]++
				}
			case *ast.TypeSpec:
				if st, ok := n.Type.(*ast.StructType); ok && st.Fields.NumFields() > maxFields && !s.test {
					t.Errorf("%s: %s has %d fields, at most %d", s.at(n), n.Name.Name, st.Fields.NumFields(), maxFields)
				}
			}
			return true
		})
	}
	for name, n := range every {
		if _, excused := manyMethods()[name]; (exported[name] > maxMethods || n > maxAll) && !excused {
			t.Errorf("%s has %d methods, %d of them exported, at most %d and %d: split it by what they are about",
				name, n, exported[name], maxAll, maxMethods)
		}
	}
}

// receiver is the name of the type whose method f is.
func receiver(f *ast.FuncDecl) string {
	expr := f.Recv.List[0].Type
	if star, ok := expr.(*ast.StarExpr); ok {
		expr = star.X
	}
	if generic, ok := expr.(*ast.IndexExpr); ok {
		expr = generic.X
	}
	if name, ok := expr.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}

func nameComments(t *testing.T, all []source) {
	t.Helper()
	for _, s := range all {
		if s.generated || s.test || s.pkg.Name == "main" {
			continue
		}
		for _, d := range s.tree.Decls {
			for _, name := range undocumented(d) {
				t.Errorf("%s: %s has no comment", s.at(d), name)
			}
		}
	}
}

// undocumented lists the exported names that d declares without a comment. In
// a group, the comment of the group or of the line will do.
func undocumented(d ast.Decl) []string {
	switch d := d.(type) {
	case *ast.FuncDecl:
		exported := d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d)))
		if exported && d.Doc == nil && !wellKnown.MatchString(d.Name.Name) {
			return []string{d.Name.Name}
		}
	case *ast.GenDecl:
		var names []string
		for _, spec := range d.Specs {
			if t, ok := spec.(*ast.TypeSpec); ok && t.Name.IsExported() && d.Doc == nil && t.Doc == nil && t.Comment == nil {
				names = append(names, t.Name.Name)
			}
			if v, ok := spec.(*ast.ValueSpec); ok && v.Names[0].IsExported() && d.Doc == nil && v.Doc == nil && v.Comment == nil {
				names = append(names, v.Names[0].Name)
			}
		}
		return names
	}
	return nil
}

// wellKnown are methods whose meaning their standard interface gives.
var wellKnown = regexp.MustCompile(`^(Error|Unwrap|String|Len|Less|Swap|Close)$`)
