package command

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"waypoint/api/configpb"
	"waypoint/errs"
)

const (
	getPolicy = "waypoint.config.Config/GetPolicy"
	setPolicy = "waypoint.config.Config/SetPolicy"
)

func TestConfigSetLetsAVariableGoToAFile(t *testing.T) {
	w := newWorld(t)
	w.file("key.pem", "-----BEGIN-----\r\n\x00\n\n")
	w.cluster.answer(configSet, &configpb.SetResponse{Variables: []*configpb.Variable{
		{Name: "KEY", Scope: &configpb.Scope{}, Version: 2, File: &configpb.File{Path: "/etc/key.pem", Mode: 0o640}},
	}})
	for _, c := range []struct {
		args []string
		want *configpb.Change
	}{
		{[]string{"-file=/etc/key.pem", "-mode=0640", "-owner=app:app", "KEY=@key.pem"},
			&configpb.Change{Value: "-----BEGIN-----\r\n\x00\n\n", File: &configpb.File{Path: "/etc/key.pem", Mode: 0o640, Owner: "app:app"}}},
		{[]string{"-file=/etc/key.pem", "-mode=444", "KEY="}, &configpb.Change{File: &configpb.File{Path: "/etc/key.pem", Mode: 0o444}}},
		{[]string{"-file=/etc/key.pem", "KEY=@@x"}, &configpb.Change{Value: "@x", File: &configpb.File{Path: "/etc/key.pem"}}},
		{[]string{"KEY=back"}, &configpb.Change{Value: "back"}},
	} {
		w.prints("KEY is set for all projects, as the file /etc/key.pem (version 2)\n", append([]string{"config", "set", "-global"}, c.args...)...)
		c.want.Name, c.want.Scope, c.want.Origin = "KEY", &configpb.Scope{}, configpb.Origin_ORIGIN_SET
		if got := w.cluster.request(configSet).(*configpb.SetRequest).GetChanges()[0]; !proto.Equal(got, c.want) {
			t.Errorf("%v asks for %v, want %v", c.args, got, c.want)
		}
	}
}

func TestConfigSetRefusesWhatNoFileCanBe(t *testing.T) {
	w := newWorld(t)
	w.file("binary", "\xff\xfe")
	for _, c := range []struct{ args, says string }{
		{"-mode=0640 K=1", "give -file too"},
		{"-owner=app K=1", "give -file too"},
		{"-file=/a K=1 L=2", "one variable at a time"},
		{"-file=etc/app K=1", "-file=etc/app"},
		{"-file=/etc/../app K=1", "absolute"},
		{"-file=/ K=1", "absolute"},
		{"-file= K=1", "absolute"},
		{"-file=/a -mode=rw K=1", "octal digits"},
		{"-file=/a -mode=4755 K=1", "octal digits"},
		{"-file=/a -mode=0 K=1", "octal digits"},
		{"-file=/a -mode= K=1", "octal digits"},
		{"-file=/a", "NAME=VALUE is missing"},
		{"-file=/a K", "is not NAME=VALUE"},
	} {
		w.fails(codeUsage, c.says, append([]string{"config", "set", "-global"}, strings.Fields(c.args)...)...)
	}
	w.fails(codeFailed, "set K: the value is not UTF-8 text", "config", "set", "-global", "-file=/a", "K=@binary")
	w.fails(codeFailed, "set K: the value is not UTF-8 text", "config", "set", "-global", "K=@binary")
	w.fails(codeFailed, "read the value", "config", "set", "-global", "-file=/a", "K=@missing")
	if n := w.cluster.called(configSet); n != 0 {
		t.Errorf("the cluster was called %d times", n)
	}
}

func TestConfigPolicyShowsWhatThereIs(t *testing.T) {
	w := newWorld(t)
	w.project("shop", "web")
	policy := &configpb.Policy{Reload: configpb.Reload_RELOAD_NEXT_START, MaxUnavailable: "25%"}
	set := &configpb.Policy{Reload: configpb.Reload_RELOAD_NEXT_START}
	w.cluster.answer(getPolicy, &configpb.GetPolicyResponse{Policy: policy, Set: set})
	w.prints("App              shop/web\nReload           next-start\nMax unavailable  25%\n", "config", "policy")
	if got := w.cluster.request(getPolicy); !proto.Equal(got, &configpb.GetPolicyRequest{Project: "shop", App: "web"}) {
		t.Errorf("asked for %v", got)
	}
	w.prints(`
{
  "policy": {
    "reload": "RELOAD_NEXT_START",
    "signal": "",
    "maxUnavailable": "25%"
  },
  "set": {
    "reload": "RELOAD_NEXT_START",
    "signal": "",
    "maxUnavailable": ""
  }
}
`, "config", "policy", "-json")
	w.cluster.refuse(getPolicy, errs.NotFound, "there is no project \"other\"")
	w.fails(codeFailed, "get the policy of other/api: there is no project", "config", "policy", "-project=other", "-app=api")
	if n := w.cluster.called(setPolicy); n != 0 {
		t.Errorf("it was set %d times", n)
	}
}

func TestConfigPolicyChangesOnlyWhatIsNamed(t *testing.T) {
	const restart, signal, nextStart = configpb.Reload_RELOAD_RESTART, configpb.Reload_RELOAD_SIGNAL, configpb.Reload_RELOAD_NEXT_START
	w := newWorld(t)
	w.project("shop", "web")
	w.cluster.answer(setPolicy, &configpb.SetPolicyResponse{Policy: &configpb.Policy{Reload: signal, Signal: "USR1", MaxUnavailable: "2"}})
	for _, c := range []struct {
		was  *configpb.Policy
		args string
		want *configpb.Policy
	}{
		{&configpb.Policy{}, "-reload=signal -signal=USR1", &configpb.Policy{Reload: signal, Signal: "USR1"}},
		{&configpb.Policy{}, "-max-unavailable=25%", &configpb.Policy{MaxUnavailable: "25%"}},
		{&configpb.Policy{Reload: restart, MaxUnavailable: "25%"}, "-reload=signal -signal=USR1",
			&configpb.Policy{Reload: signal, Signal: "USR1", MaxUnavailable: "25%"}},
		{&configpb.Policy{Reload: signal, Signal: "HUP", MaxUnavailable: "3"}, "-signal=USR1",
			&configpb.Policy{Reload: signal, Signal: "USR1", MaxUnavailable: "3"}},
		{&configpb.Policy{Reload: signal, Signal: "HUP", MaxUnavailable: "3"}, "-max-unavailable=2",
			&configpb.Policy{Reload: signal, Signal: "HUP", MaxUnavailable: "2"}},
		{&configpb.Policy{Reload: signal, Signal: "HUP", MaxUnavailable: "3"}, "-reload=next-start",
			&configpb.Policy{Reload: nextStart, MaxUnavailable: "3"}},
		{&configpb.Policy{Reload: signal, Signal: "HUP", MaxUnavailable: "3"}, "-reload=signal",
			&configpb.Policy{Reload: signal, Signal: "HUP", MaxUnavailable: "3"}},
		{&configpb.Policy{Reload: restart, MaxUnavailable: "3"}, "-max-unavailable=", &configpb.Policy{Reload: restart}},
	} {
		filled := &configpb.Policy{Reload: restart, MaxUnavailable: "25%"}
		proto.Merge(filled, c.was)
		w.cluster.answer(getPolicy, &configpb.GetPolicyResponse{Policy: filled, Set: c.was})
		w.prints("App              shop/web\nReload           signal\nSignal           USR1\nMax unavailable  2\n",
			append([]string{"config", "policy"}, strings.Fields(c.args)...)...)
		want := &configpb.SetPolicyRequest{Project: "shop", App: "web", Policy: c.want}
		if got := w.cluster.request(setPolicy); !proto.Equal(got, want) {
			t.Errorf("%v and %s: asked for %v, want %v", c.was, c.args, got, want)
		}
	}
	w.cluster.answer(getPolicy, &configpb.GetPolicyResponse{Policy: &configpb.Policy{Reload: signal, Signal: "HUP", MaxUnavailable: "25%"}})
	_, stdout, _ := w.run("config", "policy", "-signal=USR1", "-json")
	if !strings.Contains(stdout, `"signal": "USR1"`) {
		t.Error(stdout)
	}
	older := &configpb.Policy{Reload: signal, Signal: "USR1", MaxUnavailable: "25%"}
	if got := w.cluster.request(setPolicy).(*configpb.SetPolicyRequest).GetPolicy(); !proto.Equal(got, older) {
		t.Errorf("of an older server's answer: asked for %v", got)
	}
	w.cluster.refuse(setPolicy, errs.Invalid, "signal \"KILL\" ends the app")
	w.fails(codeFailed, "change the policy of shop/web: signal \"KILL\"", "config", "policy", "-reload=signal", "-signal=KILL")
	w.project("shop", "web", "worker")
	w.fails(codeUsage, "several apps", "config", "policy")
	w.fails(codeUsage, "has no app \"none\"", "config", "policy", "-app=none")
}
