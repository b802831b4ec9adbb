package runner_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
)

func TestProjectFileSetsFilesAndPolicy(t *testing.T) {
	b := newBench(t, 15*time.Second, 1)
	b.start(nil)
	var order []string
	b.OnApply(func(c *commandpb.Command) error {
		switch {
		case c.GetConfigPolicySet() != nil:
			order = append(order, "policy")
		case c.GetConfigSet() != nil:
			order = append(order, "variables")
		}
		return nil
	})
	up := func(config string) {
		t.Helper()
		b.project("config {\n" + config + "\n}\nbuild {\n  use \"noop\" {}\n}\n")
		b.ended(b.submit(b.spec(jobpb.Operation_OPERATION_BUILD)), jobpb.State_STATE_SUCCEEDED)
	}
	look := func() ([]*configpb.Variable, *configpb.Policy) {
		tx := b.Store.Read()
		vars, _ := tx.EffectiveConfig(&deploymentpb.AppRef{Project: "shop", App: "web", Workspace: "default"})
		return vars, tx.ConfigPolicy("shop", "web")
	}

	up(`env = { COLOR = "blue" }
		file "/etc/app.conf" {
			content = "a = 1"
			mode    = "0640"
			owner   = "app"
		}
		reload = "next-start"`)
	vars, policy := look()
	file := &configpb.File{Path: "/etc/app.conf", Mode: 0o640, Owner: "app"}
	if len(vars) != 2 || vars[0].GetName() != "COLOR" || vars[0].GetFile() != nil || vars[1].GetName() != "ETC_APP_CONF" ||
		vars[1].GetOrigin() != configpb.Origin_ORIGIN_FILE || !proto.Equal(vars[1].GetFile(), file) {
		t.Errorf("variables are %v", vars)
	}
	if !proto.Equal(policy, &configpb.Policy{Reload: configpb.Reload_RELOAD_NEXT_START}) {
		t.Errorf("policy is %v", policy)
	}
	if strings.Join(order, " ") != "policy variables" {
		t.Errorf("the cluster got %v", order)
	}

	// Another name for the path, and no word about the policy.
	up("file \"/etc/app.conf\" {\n  name = \"CONF\"\n  content = \"\"\n}")
	if vars, policy = look(); len(vars) != 1 || vars[0].GetName() != "CONF" || vars[0].GetFile().GetMode() != 0o600 ||
		policy.GetReload() != configpb.Reload_RELOAD_NEXT_START {
		t.Errorf("variables are %v, policy is %v", vars, policy)
	}

	up("reload = \"signal\"\nsignal = \"USR1\"\nmax_unavailable = \"50%\"")
	want := &configpb.Policy{Reload: configpb.Reload_RELOAD_SIGNAL, Signal: "USR1", MaxUnavailable: "50%"}
	if vars, policy = look(); len(vars) != 0 || !proto.Equal(policy, want) {
		t.Errorf("variables are %v, policy is %v", vars, policy)
	}
	up("max_unavailable = 3")
	if _, policy = look(); !proto.Equal(policy, &configpb.Policy{MaxUnavailable: "3"}) {
		t.Errorf("policy is %v", policy)
	}
	b.OnApply(nil)
}

func TestPolicyThatTheClusterRefusesFailsTheJob(t *testing.T) {
	b := newBench(t, 15*time.Second, 1)
	b.project("config {\n  reload = \"signal\"\n  signal = \"KILL\"\n}\n" + testBuild)
	b.start(nil)
	job := b.ended(b.submit(b.spec(jobpb.Operation_OPERATION_BUILD)), jobpb.State_STATE_FAILED)
	if !strings.HasPrefix(job.GetError(), "set the configuration policy of app web: signal \"KILL\"") {
		t.Errorf("job is %v", job)
	}
}
