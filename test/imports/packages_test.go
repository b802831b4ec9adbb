package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// module is the path that this module's packages begin with.
const module = "waypoint"

// goPackage is what "go list" says of a package.
type goPackage struct {
	Dir          string
	ImportPath   string
	Name         string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
	Imports      []string // of the package itself, not of its tests
	Standard     bool
}

// modulePackages lists the packages of this module.
func modulePackages(t *testing.T) []goPackage { return goList(t, "../../...") }

// goList runs "go list" with the given flags and patterns. Packages that do not
// compile are listed as far as they go: the compiler says what is wrong.
func goList(t *testing.T, args ...string) []goPackage {
	t.Helper()
	fields := "-json=Dir,ImportPath,Name,GoFiles,TestGoFiles,XTestGoFiles,Imports,Standard"
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-e", fields}, args...)...)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v\n%s", args, err, &problems)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// short is a package's path below the module's root.
func short(path string) string { return strings.TrimPrefix(path, module+"/") }
