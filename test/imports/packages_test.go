package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
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

// root is the module's root folder.
const root = "../.."

// modulePackages lists the packages of this module.
func modulePackages(t *testing.T) []goPackage {
	t.Helper()
	watch(t)
	return goList(t, root+"/...")
}

// watch opens every folder of the module, so that "go test", which cannot see
// what "go list" reads, does not take a former result for the present one
// after a package was added.
func watch(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

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
