package imports

import (
	"slices"
	"strings"
	"testing"
)

// The entrypoint runs in other people's containers: whatever it reaches, also
// through others, makes it bigger and more likely to fail.
func TestTheEntrypointReachesOnlyWhatItsFenceAllows(t *testing.T) {
	for _, p := range goList(t, "-deps", "-tags=hashicorpmetrics,grpcnotrace", root+"/cmd/waypoint-entrypoint") {
		name := short(p.ImportPath)
		switch {
		case p.Standard:
			if why, ok := entrypointNever()[name]; ok {
				t.Errorf("the entrypoint reaches %s: %s", name, why)
			}
		case strings.HasPrefix(p.ImportPath, module+"/"):
			if !slices.ContainsFunc(entrypointPackages(), func(folder string) bool { return below(name, folder) }) {
				t.Errorf("the entrypoint reaches %s, which is outside of its fence", name)
			}
		default:
			if !slices.ContainsFunc(entrypointModules(), func(path string) bool { return below(p.ImportPath, path) }) {
				t.Errorf("the entrypoint reaches %s, which is outside of its fence", p.ImportPath)
			}
		}
	}
}
