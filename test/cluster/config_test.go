package cluster

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"waypoint/api/configpb"
)

// TestStartingInstanceGetsItsConfigurationWithoutAQuorum starts an entrypoint
// while one node of three is left: its first child has the configuration.
func TestStartingInstanceGetsItsConfigurationWithoutAQuorum(t *testing.T) {
	t.Parallel()
	g := startGroup(t, 3)
	token := g.entrypointToken("shop")
	binary := buildBinary(t, t.TempDir(), "waypoint-entrypoint")
	ctx := g.context(2 * time.Minute)
	config := configpb.NewConfigClient(g.dial(2, g.token).Conn())
	if _, err := config.Set(ctx, &configpb.SetRequest{Changes: []*configpb.Change{
		{Scope: &configpb.Scope{}, Name: "GREETING", Value: "kept"}}}); err != nil {
		t.Fatal(err)
	}
	addrs := g.addrs()
	g.members[0].stop()
	g.members[1].stop()

	cmd := exec.CommandContext(ctx, binary, "sh", "-c", `echo "got $GREETING"`)
	cmd.Env = append(os.Environ(), "WAYPOINT_SERVER_ADDR="+strings.Join(addrs, ","), "WAYPOINT_SERVER_CA="+g.ca,
		"WAYPOINT_ENTRYPOINT_TOKEN="+token)
	out, err := cmd.Output()
	if err != nil || string(out) != "got kept\n" {
		t.Errorf("the child said %q, %v", out, err)
	}
}
