package session_test

import (
	"crypto/sha256"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"

	"waypoint/api/commandpb"
	"waypoint/api/configpb"
	"waypoint/api/entrypointpb"
	"waypoint/internal/ids"
	"waypoint/internal/wait"
	"waypoint/rpc/rpctest"
	"waypoint/session"
	"waypoint/session/sessiontest"
)

// setFile sets a variable of the app that goes to a file.
func setFile(t testing.TB, f *rpctest.Fixture, name, content string, file *configpb.File) {
	t.Helper()
	change := sealed(t, f, name, content)
	change.File = file
	f.Do(&commandpb.Command_ConfigSet{ConfigSet: &commandpb.ConfigSet{Changes: []*configpb.Change{change}}})
}

// sealed sets a variable of the app.
func sealed(t testing.TB, f *rpctest.Fixture, name, content string) *configpb.Change {
	t.Helper()
	envelope, err := f.Keyring.Seal([]byte(content), []byte("config/shop/web//"+name), ids.New())
	if err != nil {
		t.Fatal(err)
	}
	return &configpb.Change{Scope: &configpb.Scope{Project: "shop", App: "web"}, Name: name, Sealed: envelope}
}

func setPolicy(f *rpctest.Fixture, policy *configpb.Policy) {
	f.Do(&commandpb.Command_ConfigPolicySet{ConfigPolicySet: &commandpb.ConfigPolicySet{Project: "shop", App: "web", Policy: policy}})
}

func joined(t *testing.T, n *sessiontest.Node, token string) *sessiontest.Entrypoint {
	t.Helper()
	e := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{})
	e.Welcome()
	return e
}

// look makes the node look at the newest state for its instances: another one
// attaches and says that it has that state already, but other content.
func look(t *testing.T, f *rpctest.Fixture, n *sessiontest.Node, token string) *sessiontest.Entrypoint {
	t.Helper()
	epoch, index := f.Store.Index()
	e := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{
		Have: &entrypointpb.HaveConfig{Epoch: epoch, Index: index, Hash: []byte("another")},
	})
	e.Welcome()
	return e
}

// checkHash compares a configuration's hash with that of its content.
func checkHash(t *testing.T, config *entrypointpb.Config) {
	t.Helper()
	content := proto.CloneOf(config)
	content.Epoch, content.Index, content.Hash = "", 0, nil
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	if want := sha256.Sum256(encoded); string(config.GetHash()) != string(want[:]) {
		t.Errorf("the hash is not that of %v", config)
	}
}

func TestInstanceGetsFilesBesideItsEnvironment(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	sessiontest.SetConfig(t, f, "COLOR", "blue")
	setFile(t, f, "A", "one", &configpb.File{Path: "/etc/z", Mode: 0o600})
	setFile(t, f, "Z", "two\x00\n", &configpb.File{Path: "/etc/a", Mode: 0o640, Owner: "app:app"})
	e := joined(t, sessiontest.NewNode(t, f, nil), token)

	vars, config := e.Config()
	checkHash(t, config)
	want := []*entrypointpb.ConfigFile{
		{Name: "Z", Path: "/etc/a", Mode: 0o640, Owner: "app:app", Content: "two\x00\n"},
		{Name: "A", Path: "/etc/z", Mode: 0o600, Content: "one"},
	}
	if len(vars) != 1 || vars["COLOR"] != "blue" || len(config.GetFiles()) != 2 ||
		!proto.Equal(config.GetFiles()[0], want[0]) || !proto.Equal(config.GetFiles()[1], want[1]) {
		t.Errorf("config %v", config)
	}
	if config.GetReload() != entrypointpb.Reload_RELOAD_RESTART || config.GetSignal() != 0 {
		t.Errorf("without a policy: %v", config)
	}

	before := config.GetHash()
	setFile(t, f, "A", "one", &configpb.File{Path: "/etc/z", Mode: 0o644})
	if _, config = e.Config(); config.GetFiles()[1].GetMode() != 0o644 || string(config.GetHash()) == string(before) {
		t.Errorf("after a change of mode: %v", config)
	}
	checkHash(t, config)
	setFile(t, f, "A", "one", nil)
	if vars, config = e.Config(); vars["A"] != "one" || len(config.GetFiles()) != 1 {
		t.Errorf("after the file went back to the environment: %v", config)
	}
}

func TestChangeOfPolicyAloneReachesInstances(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	sessiontest.SetConfig(t, f, "COLOR", "blue")
	e := joined(t, sessiontest.NewNode(t, f, nil), token)
	_, last := e.Config()
	for _, c := range []struct {
		policy *configpb.Policy
		reload entrypointpb.Reload
		signal int32
	}{
		{&configpb.Policy{Reload: configpb.Reload_RELOAD_SIGNAL, Signal: "HUP"}, entrypointpb.Reload_RELOAD_SIGNAL, 1},
		{&configpb.Policy{Reload: configpb.Reload_RELOAD_SIGNAL, Signal: "RTMIN+1"}, entrypointpb.Reload_RELOAD_SIGNAL, 35},
		{&configpb.Policy{Reload: configpb.Reload_RELOAD_NEXT_START}, entrypointpb.Reload_RELOAD_NEXT_START, 0},
		{&configpb.Policy{Reload: configpb.Reload_RELOAD_RESTART}, entrypointpb.Reload_RELOAD_RESTART, 0},
	} {
		setPolicy(f, c.policy)
		vars, config := e.Config()
		checkHash(t, config)
		if vars["COLOR"] != "blue" || config.GetReload() != c.reload || config.GetSignal() != c.signal ||
			string(config.GetHash()) == string(last.GetHash()) || config.GetIndex() <= last.GetIndex() {
			t.Errorf("with %v: config %v", c.policy, config)
		}
		last = config
	}
}

func TestNothingIsSentWhenNothingChangedForTheInstance(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	file := &configpb.File{Path: "/etc/a", Mode: 0o600}
	setFile(t, f, "A", "one", file)
	setPolicy(f, &configpb.Policy{Reload: configpb.Reload_RELOAD_SIGNAL, Signal: "HUP"})
	n := sessiontest.NewNode(t, f, nil)
	e := joined(t, n, token)
	_, first := e.Config()

	setFile(t, f, "A", "one", file)                                                                         // sealed anew
	setPolicy(f, &configpb.Policy{Reload: configpb.Reload_RELOAD_SIGNAL, Signal: "1", MaxUnavailable: "2"}) // the same to an instance
	f.Do(&commandpb.Command_ProjectApply{ProjectApply: &commandpb.ProjectApply{Name: "shop", Apps: []string{"other"}}})
	f.Do(&commandpb.Command_ConfigPolicySet{ConfigPolicySet: &commandpb.ConfigPolicySet{
		Project: "shop", App: "other", Policy: &configpb.Policy{Reload: configpb.Reload_RELOAD_NEXT_START},
	}})
	f.Do(&commandpb.Command_ConfigSet{ConfigSet: &commandpb.ConfigSet{Changes: []*configpb.Change{
		{Scope: &configpb.Scope{Project: "shop", App: "other"}, Name: "A", Sealed: []byte("of another app")},
	}}})
	look(t, f, n, token).Config()
	e.Sync()
	// What comes next is the next real change, with all of the above in it.
	sessiontest.SetConfig(t, f, "COLOR", "red")
	_, next := e.Config()
	if len(next.GetVariables()) != 1 || next.GetSignal() != 1 || !proto.Equal(next.GetFiles()[0], first.GetFiles()[0]) {
		t.Errorf("config %v", next)
	}
	// An instance that has it already is not sent it again.
	again := sessiontest.Attach(t, n.Server.Dial(token), &entrypointpb.Hello{
		Have: &entrypointpb.HaveConfig{Epoch: next.GetEpoch(), Index: next.GetIndex(), Hash: next.GetHash()},
	})
	again.Welcome()
	again.Sync()
}

func TestOneBadValueKeepsTheWholeLastGoodConfig(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	sessiontest.SetConfig(t, f, "COLOR", "blue")
	var closed atomic.Bool
	var tried atomic.Int32
	n := sessiontest.NewNode(t, f, func(c *session.InstancesConfig) {
		open := c.Open
		c.Open = func(envelope, aad []byte) ([]byte, error) {
			if closed.Load() && strings.HasSuffix(string(aad), "/KEY") {
				tried.Add(1)
				return nil, errors.New("no key opens it")
			}
			return open(envelope, aad)
		}
	})
	old := joined(t, n, token)
	_, good := old.Config()

	closed.Store(true)
	setFile(t, f, "KEY", "secret", &configpb.File{Path: "/etc/key", Mode: 0o600})
	sessiontest.SetConfig(t, f, "COLOR", "red")
	setPolicy(f, &configpb.Policy{Reload: configpb.Reload_RELOAD_NEXT_START})
	for before := tried.Load(); tried.Load() < before+2; { // one may have begun before
		looks := tried.Load()
		look(t, f, n, token)
		wait.For(t, patience, "the node to try the newest state", func() bool { return tried.Load() > looks })
	}

	young := joined(t, n, token)
	if _, got := young.Config(); !proto.Equal(got, good) {
		t.Errorf("a new instance got %v, want the last good %v", got, good)
	}
	old.Sync() // none of the three changes alone
	young.Sync()

	closed.Store(false)
	sessiontest.SetConfig(t, f, "COLOR", "green")
	for _, e := range []*sessiontest.Entrypoint{old, young} {
		vars, got := e.Config()
		if vars["COLOR"] != "green" || len(got.GetFiles()) != 1 || got.GetReload() != entrypointpb.Reload_RELOAD_NEXT_START {
			t.Errorf("when all can be opened again: %v", got)
		}
	}
}

func TestConfigThatIsTooBigIsNotSent(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	sessiontest.SetConfig(t, f, "COLOR", "blue")
	var tried atomic.Int32
	n := sessiontest.NewNode(t, f, func(c *session.InstancesConfig) {
		open := c.Open
		c.Open = func(envelope, aad []byte) ([]byte, error) {
			if strings.HasSuffix(string(aad), "/HALF2") {
				tried.Add(1)
			}
			return open(envelope, aad)
		}
	})
	old := joined(t, n, token)
	_, good := old.Config()

	half := strings.Repeat("x", 4<<20)
	f.Do(&commandpb.Command_ConfigSet{ConfigSet: &commandpb.ConfigSet{Changes: []*configpb.Change{
		sealed(t, f, "HALF1", half), sealed(t, f, "HALF2", half),
	}}})
	for before := tried.Load(); tried.Load() < before+2; { // one may have begun before
		looks := tried.Load()
		look(t, f, n, token)
		wait.For(t, patience, "the node to try the newest state", func() bool { return tried.Load() > looks })
	}
	young := joined(t, n, token)
	if _, got := young.Config(); !proto.Equal(got, good) {
		t.Errorf("a new instance got %d bytes, want the last good configuration", proto.Size(got))
	}
	old.Sync()
	young.Sync()

	f.Do(&commandpb.Command_ConfigSet{ConfigSet: &commandpb.ConfigSet{Changes: []*configpb.Change{
		sealed(t, f, "HALF1", "small"), sealed(t, f, "HALF2", "small"),
	}}})
	for _, e := range []*sessiontest.Entrypoint{old, young} {
		if vars, _ := e.Config(); vars["HALF1"] != "small" || vars["HALF2"] != "small" || vars["COLOR"] != "blue" {
			t.Errorf("when it is small again: %d variables", len(vars))
		}
	}
}

func TestNodeWithoutAnyGoodConfigSendsNone(t *testing.T) {
	f := rpctest.New(t)
	_, token := sessiontest.Deploy(f)
	sessiontest.SetConfig(t, f, "COLOR", "blue")
	f.Do(&commandpb.Command_ConfigSet{ConfigSet: &commandpb.ConfigSet{Changes: []*configpb.Change{
		{Scope: &configpb.Scope{Project: "shop", App: "web"}, Name: "KEY", Sealed: []byte("damaged")},
	}}})
	var tried atomic.Bool
	e := joined(t, sessiontest.NewNode(t, f, func(c *session.InstancesConfig) {
		open := c.Open
		c.Open = func(envelope, aad []byte) ([]byte, error) {
			tried.Store(tried.Load() || string(envelope) == "damaged")
			return open(envelope, aad)
		}
	}), token)
	wait.For(t, patience, "the node to try the bad value", tried.Load)
	e.Sync()
	sessiontest.SetConfig(t, f, "COLOR", "green")
	f.Do(&commandpb.Command_ConfigSet{ConfigSet: &commandpb.ConfigSet{Changes: []*configpb.Change{
		{Scope: &configpb.Scope{Project: "shop", App: "web"}, Name: "KEY", Delete: true},
	}}})
	if vars, _ := e.Config(); vars["COLOR"] != "green" || len(vars) != 1 {
		t.Errorf("when the bad value is gone: %v", vars)
	}
}
