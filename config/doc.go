// Package config reads project files: it finds waypoint.hcl, parses it,
// evaluates it for one workspace and says exactly where it is wrong.
//
// It must not know the cluster, the network or any plugin: what stands in a
// "use" block is kept as it is and decoded by the plugin it names (Use.Decode).
package config
