package runner

import (
	"waypoint/plugin"
	"waypoint/plugin/execbuild"
	"waypoint/plugin/local"
	"waypoint/plugin/noop"
)

// BuiltIn returns the plugins that every runner has.
func BuiltIn() (*plugin.Table, error) {
	state, err := local.DefaultStateDir()
	if err != nil {
		return nil, err
	}
	return &plugin.Table{
		Builders:   map[string]plugin.Builder{"exec": execbuild.Builder{}, noopPlugin: noop.Noop{}},
		Registries: map[string]plugin.Registry{noopPlugin: noop.Noop{}},
		Platforms:  map[string]plugin.Platform{"local": local.New(local.Config{StateDir: state}), noopPlugin: noop.Noop{}},
		Releasers:  map[string]plugin.Releaser{noopPlugin: noop.Noop{}},
	}, nil
}
