package imports

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
)

// A row says what one package may import besides the standard library.
type row struct {
	pkg       string // below the module's root
	packages  string // of this module, space-separated: each stands in a row above
	libraries string // names from the table of libraries, space-separated
}

// A library is a module of others, and why it is used.
type library struct{ name, module, why string }

// A ban keeps some packages from importing, directly, something that a row
// could allow by mistake.
type ban struct{ from, to, why string }

func TestPackagesImportOnlyWhatTheirRowAllows(t *testing.T) {
	for _, complaint := range checkRows(rows(), libraries(), modulePackages(t)) {
		t.Error(complaint)
	}
}

func TestBannedImports(t *testing.T) {
	for _, complaint := range checkBans(bans(), modulePackages(t)) {
		t.Error(complaint)
	}
}

// checkRows compares what packages import with the table, both ways: what is
// not allowed, and what is allowed and not used.
func checkRows(table []row, libs []library, packages []goPackage) []string {
	var complaints []string
	complain := func(format string, args ...any) { complaints = append(complaints, fmt.Sprintf(format, args...)) }
	place := map[string]int{}
	for i, r := range table {
		if _, twice := place[r.pkg]; twice {
			complain("%s has two rows", r.pkg)
		}
		place[r.pkg] = i
	}
	seen := map[string]bool{}
	for _, p := range packages {
		name := short(p.ImportPath)
		seen[name] = true
		own, foreign, unknown := needs(p.Imports, libs)
		for _, path := range unknown {
			complain("%s imports %s, which belongs to no library in the table: use one that is there, or add it with the reason", name, path)
		}
		i, ok := place[name]
		if !ok {
			complain("%s has no row in test/imports/table_test.go. Put this one where it belongs (a package imports only what stands above it):\n\t{%q, %q, %q},",
				name, name, strings.Join(own, " "), strings.Join(foreign, " "))
			continue
		}
		for _, path := range own {
			if j, ok := place[path]; ok && j >= i {
				complain("%s imports %s, which stands below it in the table: declare the methods it needs as an interface instead", name, path)
			}
		}
		for _, c := range compare(strings.Fields(table[i].packages), own) {
			complain("%s %s: declare the methods it needs as an interface, or change its row and say why in the commit", name, c)
		}
		for _, c := range compare(strings.Fields(table[i].libraries), foreign) {
			complain("%s %s: use what stands above it, or change its row and say why in the commit", name, c)
		}
	}
	for _, r := range table {
		if !seen[r.pkg] {
			complain("%s has a row and does not exist: remove the row", r.pkg)
		}
	}
	return complaints
}

// needs splits imports into packages of this module and names of libraries,
// both sorted, and paths that belong to neither.
func needs(imports []string, libs []library) (own, foreign, unknown []string) {
	for _, path := range imports {
		switch {
		case strings.HasPrefix(path, module+"/"):
			own = append(own, short(path))
		case !strings.Contains(strings.Split(path, "/")[0], "."):
			// the standard library
		default:
			if l, ok := libraryOf(path, libs); ok {
				foreign = append(foreign, l)
			} else {
				unknown = append(unknown, path)
			}
		}
	}
	sort.Strings(own)
	sort.Strings(foreign)
	return slices.Compact(own), slices.Compact(foreign), unknown
}

func libraryOf(path string, libs []library) (string, bool) {
	for _, l := range libs {
		if path == l.module || strings.HasPrefix(path, l.module+"/") {
			return l.name, true
		}
	}
	return "", false
}

func compare(allowed, used []string) []string {
	var complaints []string
	for _, path := range used {
		if !slices.Contains(allowed, path) {
			complaints = append(complaints, "imports "+path+", which its row does not allow")
		}
	}
	for _, path := range allowed {
		if !slices.Contains(used, path) {
			complaints = append(complaints, "does not import "+path+", which its row allows")
		}
	}
	return complaints
}

func checkBans(table []ban, packages []goPackage) []string {
	var complaints []string
	for _, p := range packages {
		for _, b := range table {
			if !below(short(p.ImportPath), b.from) {
				continue
			}
			for _, path := range p.Imports {
				if below(path, b.to) || below(short(path), b.to) {
					complaints = append(complaints, fmt.Sprintf("%s imports %s: %s", short(p.ImportPath), short(path), b.why))
				}
			}
		}
	}
	return complaints
}

// below tells whether path is folder or lies below it.
func below(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

func TestTheChecksBite(t *testing.T) {
	table := []row{{"low", "", ""}, {"high", "low", "lib"}, {"gone", "", ""}}
	libs := []library{{"lib", "example.org/lib", ""}}
	packages := []goPackage{
		{ImportPath: module + "/low", Imports: []string{"fmt", module + "/high"}},
		{ImportPath: module + "/high", Imports: []string{"example.org/other", "example.org/library"}},
		{ImportPath: module + "/new", Imports: []string{module + "/low", "example.org/lib/sub"}},
	}
	all := strings.Join(checkRows(table, libs, packages), "\n")
	for _, want := range []string{
		"low imports high, which stands below it",
		"low imports high, which its row does not allow",
		"high imports example.org/other, which belongs to no library",
		"high imports example.org/library, which belongs to no library",
		"high does not import low, which its row allows",
		"high does not import lib, which its row allows",
		`{"new", "low", "lib"},`,
		"gone has a row and does not exist",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no complaint %q in:\n%s", want, all)
		}
	}
	if got := checkBans([]ban{{"low", "high", "because"}}, packages); len(got) != 1 || !strings.Contains(got[0], "because") {
		t.Errorf("the ban gave %q", got)
	}
}
