package entrypoint

import (
	"bytes"
	"slices"
	"syscall"

	"waypoint/api/entrypointpb"
)

// settings are what one configuration makes of the child.
type settings struct {
	hash   []byte // of the configuration, as received; nil: none has come
	env    []string
	files  []*entrypointpb.ConfigFile
	reload entrypointpb.Reload
	signal syscall.Signal
}

// same tells whether two settings give a child the same environment and
// files. The hash is no measure: it also covers how changes are taken up, and
// a configuration may come back under another one.
func (s *settings) same(other *settings) bool {
	return slices.Equal(s.env, other.env) && slices.EqualFunc(s.files, other.files, sameFile)
}

// configured knows the configuration that is wanted and the one that the child
// has. It only decides: the supervisor acts.
type configured struct {
	bare   *settings // the container's environment and nothing else
	newest *settings // what came last; bare before anything did
	has    *settings // the child was started with it; its files may have changed since. nil before the first start
	told   *settings // the child has last been started with or signalled for it
	failed *settings // newest, if no child can be started with it

	reported *entrypointpb.ChildState // last
}

func newConfigured(base []string) *configured {
	bare := &settings{env: base}
	return &configured{bare: bare, newest: bare, reported: &entrypointpb.ChildState{}}
}

// take takes up a configuration. It returns the names of variables that no
// environment can hold.
func (c *configured) take(base []string, config *entrypointpb.Config) (bad []string) {
	next := &settings{
		hash: config.GetHash(), files: config.GetFiles(),
		reload: config.GetReload(), signal: syscall.Signal(config.GetSignal()),
	}
	if next.hash == nil {
		next.hash = []byte{}
	}
	next.env, bad = environment(base, config.GetVariables())
	c.newest = next
	if c.failed != nil && !c.failed.same(next) {
		c.failed = nil
	}
	if c.has != nil && c.has.same(next) {
		has := *c.has
		has.hash = next.hash // the child is as if it had been started with it
		c.has = &has
	}
	return bad
}

// come tells whether there is a configuration.
func (c *configured) come() bool { return c.newest != c.bare }

// started notes what a child has been started with.
func (c *configured) started(with *settings) { c.has, c.told = with, with }

// restart tells whether the child is to be restarted for the newest
// configuration, which it may be when its turn comes.
func (c *configured) restart() bool {
	return c.newest.reload == entrypointpb.Reload_RELOAD_RESTART && c.differs(c.has)
}

// signals tells whether the child is to be signalled for the newest
// configuration.
func (c *configured) signals() bool {
	return c.newest.reload == entrypointpb.Reload_RELOAD_SIGNAL && c.differs(c.told)
}

func (c *configured) differs(from *settings) bool {
	return c.come() && from != nil && c.failed == nil && !c.newest.same(from)
}

// signalled notes that the files are those of some settings and that the child
// knows.
func (c *configured) signalled(with *settings) {
	has := *c.has
	has.files = with.files
	if has.same(with) {
		has.hash = with.hash
	}
	c.has, c.told = &has, with
}

// report adds to a child's state what it has and waits for.
func (c *configured) report(state *entrypointpb.ChildState) *entrypointpb.ChildState {
	state.ConfigHash, state.RestartWanted = c.hashes()
	c.reported = state
	return state
}

// news tells whether report would add something else than the last time.
func (c *configured) news() bool {
	has, wanted := c.hashes()
	return !bytes.Equal(has, c.reported.GetConfigHash()) || !bytes.Equal(wanted, c.reported.GetRestartWanted())
}

// hashes are of the configuration that the child has and of the one that a
// restart is wanted for.
func (c *configured) hashes() (has, wanted []byte) {
	if c.has != nil {
		has = c.has.hash
	}
	if c.restart() {
		wanted = c.newest.hash
	}
	return has, wanted
}
