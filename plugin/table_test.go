package plugin_test

import (
	"context"
	"testing"

	"waypoint/errs"
	"waypoint/plugin"
	"waypoint/plugin/noop"
)

func TestUnknownPluginNamesThoseThereAre(t *testing.T) {
	table := &plugin.Table{Builders: map[string]plugin.Builder{"noop": noop.Noop{}, "a": noop.Noop{}}}
	if b, err := table.Builder("noop"); err != nil || b == nil {
		t.Errorf("%v, %v", b, err)
	}
	_, err := table.Builder("docker")
	if !errs.Is(err, errs.Invalid) || err.Error() != `there is no builder named "docker"; this runner has: a, noop` {
		t.Errorf("error is %v", err)
	}
}

func TestNoopDoesEveryStageWithoutABody(t *testing.T) {
	ctx := context.Background()
	artifact, err := noop.Noop{}.Build(ctx, &plugin.BuildRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if pushed, err := (noop.Noop{}).Push(ctx, &plugin.PushRequest{Artifact: artifact}); err != nil || pushed != artifact {
		t.Errorf("pushed %v, %v", pushed, err)
	}
	if plan, err := (noop.Noop{}).Plan(&plugin.DeployRequest{}); err != nil || *plan != (plugin.Plan{}) {
		t.Errorf("plan is %v, %v", plan, err)
	}
	if _, err := (noop.Noop{}).Release(ctx, &plugin.ReleaseRequest{}); err != nil {
		t.Error(err)
	}
}
