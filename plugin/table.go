package plugin

import (
	"maps"
	"slices"
	"strings"

	"waypoint/errs"
)

// Table holds the plugins of each kind under their names. It is filled once
// and only read after that.
type Table struct {
	Builders   map[string]Builder
	Registries map[string]Registry
	Platforms  map[string]Platform
	Releasers  map[string]Releaser
}

// Builder returns the builder of that name; errs.Invalid names those there are.
func (t *Table) Builder(name string) (Builder, error) { return find(t.Builders, "builder", name) }

// Registry returns the registry of that name, like Builder.
func (t *Table) Registry(name string) (Registry, error) {
	return find(t.Registries, "registry", name)
}

// Platform returns the platform of that name, like Builder.
func (t *Table) Platform(name string) (Platform, error) {
	return find(t.Platforms, "platform", name)
}

// Releaser returns the releaser of that name, like Builder.
func (t *Table) Releaser(name string) (Releaser, error) {
	return find(t.Releasers, "releaser", name)
}

func find[P any](plugins map[string]P, kind, name string) (P, error) {
	if p, ok := plugins[name]; ok {
		return p, nil
	}
	var none P
	return none, errs.New(errs.Invalid, "there is no %s named %q; this runner has: %s",
		kind, name, strings.Join(slices.Sorted(maps.Keys(plugins)), ", "))
}
