package fsm_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// What would let two machines differ that are fed one log, and why.
var forbiddenImports = map[string]string{
	"math/rand":              "two machines draw different numbers",
	"math/rand/v2":           "two machines draw different numbers",
	"crypto/rand":            "two machines draw different numbers",
	"os":                     "two machines have different files and environments",
	"net":                    "the outside answers differently",
	"net/http":               "the outside answers differently",
	"sync/atomic":            "order between goroutines is not in the log",
	"waypoint/internal/seal": "sealed values pass unopened",
}

var forbiddenCalls = map[string]string{
	"time.Now":        "the entry has the time",
	"time.Since":      "the entry has the time",
	"time.Until":      "the entry has the time",
	"time.Sleep":      "the entry has the time",
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
	for _, i := range file.Imports {
		if why, bad := forbiddenImports[strings.Trim(i.Path.Value, `"`)]; bad {
			t.Errorf("%s imports %s: %s", set.Position(i.Pos()), i.Path.Value, why)
		}
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
