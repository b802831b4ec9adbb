package fsm_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// What would let two machines differ that are fed one log, and why. The rules
// about imports and the clock for these packages stand in test/imports.
var forbiddenCalls = map[string]string{
	"time.After":      "the entry has the time",
	"time.NewTimer":   "the entry has the time",
	"timestamppb.Now": "the entry has the time",
	"ids.New":         "the caller makes ids",
	"ids.At":          "the caller makes ids",
}

func TestNothingDependsOnTheMachine(t *testing.T) {
	for _, pattern := range []string{"*.go", "../state/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("glob %s: %d files, %v", pattern, len(files), err)
		}
		for _, name := range files {
			if !strings.HasSuffix(name, "_test.go") {
				inspect(t, name)
			}
		}
	}
}

func inspect(t *testing.T, name string) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			t.Errorf("%s starts a goroutine: order between goroutines is not in the log", set.Position(n.Pos()))
		case *ast.SelectorExpr:
			if from, ok := n.X.(*ast.Ident); ok {
				if why, bad := forbiddenCalls[from.Name+"."+n.Sel.Name]; bad {
					t.Errorf("%s uses %s.%s: %s", set.Position(n.Pos()), from.Name, n.Sel.Name, why)
				}
			}
		}
		return true
	})
}
