package entrypoint

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"waypoint/api/versionpb"
	"waypoint/errs"
	"waypoint/protocol"
)

const (
	startLimit = 5 * time.Second // from the entrypoint's start to the child's
	childsCode = 7
	port       = ":9701"
)

// failure is one way in which a cluster fails an entrypoint. Each has a network
// of its own, in which its addresses are nobody else's.
type failure struct {
	name string
	// doors are what listens at 127.0.0.1, 127.0.0.2 and so on. At a nil one
	// nothing does.
	doors []manners
	addr  string // instead of the doors'
	setup func(*network)
	// mend makes a good server of addr.
	mend func(*network)
	env  func(*deployment) []string // over the good one
	// hopeless failures are not mended by another server.
	hopeless bool
	// asksNames says that tries end with questions for a name.
	asksNames bool
	noTries   bool
	says      string // of its cause
}

// failures is the whole table.
func failures(t *testing.T, s *server, cert tls.Certificate) []failure {
	stranger, _ := authority(t)
	tooNew := &versionpb.Range{Min: 1000, Current: 1001}
	_, outOfRange := protocol.Negotiate(protocol.Entrypoint, tooNew, protocol.Of(protocol.Current(), protocol.Entrypoint))
	good := []manners{forward(s.addr, 0)}
	token := func(text func(*deployment) string) func(*deployment) []string {
		return func(d *deployment) []string { return []string{"WAYPOINT_ENTRYPOINT_TOKEN=" + text(d)} }
	}
	return []failure{
		{name: "nothing listens", doors: []manners{nil}, says: "connection refused"},
		{name: "SYN unanswered", addr: silent + port, setup: (*network).swallow,
			mend: func(n *network) { n.give(silent) }, says: "in time"},
		{name: "TCP accepted and silent", doors: []manners{hold}, says: "no TLS handshake in time"},
		{name: "closed at once", doors: []manners{func(net.Conn) {}}, says: "it closed the connection"},
		{name: "TLS stalls half-way", doors: []manners{stall}, says: "no TLS handshake in time"},
		{name: "wrong CA", doors: []manners{encrypted(stranger, hold)}, says: "certificate"},
		{name: "HTTP/2 settings never come", doors: []manners{encrypted(cert, hold)}, says: "no HTTP/2 in time"},
		{name: "first call never answered", doors: []manners{serve(t, cert, &fake{deaf: true})}, says: "no answer to a first call"},
		{name: "attach never answered", doors: []manners{serve(t, cert, &fake{})}, says: "did not answer"},
		{name: "answers 1 byte per second", doors: []manners{forward(s.addr, time.Second)}, says: "in time"},
		{name: "version out of range", doors: []manners{serve(t, cert, &fake{refuse: outOfRange})}, says: "versions 1000 to 1001"},
		{name: "unknown deployment", doors: []manners{serve(t, cert, &fake{refuse: errs.New(errs.NotFound, "no such deployment")})},
			says: "no such deployment"},
		{name: "proxy answers 404 in plain", doors: []manners{notFound}, says: "TLS handshake"},
		{name: "proxy answers 404 in TLS", doors: []manners{encrypted(cert, notFound)}, says: "HTTP/2"},
		{name: "three addresses bad in three ways", doors: []manners{nil, hold, encrypted(stranger, hold)}, says: "connection refused"},
		{name: "name never resolves", addr: "server.example" + port, setup: (*network).swallow,
			mend: func(n *network) {
				n.give(silent)
				n.give(resolver)
				n.resolve(silent)
			}, asksNames: true, says: "server.example"},
		{name: "expired token", doors: good, hopeless: true, says: "expired",
			env: token(func(d *deployment) string { return s.expired(d.t) })},
		{name: "revoked token", doors: good, hopeless: true, says: "revoked",
			env: token(func(d *deployment) string { d.revoke(); return d.token })},
		{name: "token of a destroyed deployment", doors: good, hopeless: true, says: "token",
			env: token(func(d *deployment) string { d.destroy(); return d.token })},
		{name: "malformed token", doors: good, hopeless: true, says: "token",
			env: token(func(*deployment) string { return "wp1_nonsense" })},
		{name: "changed token", doors: good, hopeless: true, says: "token",
			env: token(func(d *deployment) string { return d.token[:len(d.token)-4] + "AAAA" })},
		{name: "missing token", doors: good, hopeless: true, noTries: true, says: "WAYPOINT_ENTRYPOINT_TOKEN",
			env: token(func(*deployment) string { return "" })},
	}
}

// Whatever the network, the server, the token or the deployment do, the child
// starts in time, and what is good later is taken up.
func TestFailOpen(t *testing.T) {
	s := node(t)
	cert, ca := authority(t)
	for _, f := range failures(t, s, cert) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.run(t, s, ca+s.ca)
		})
	}
}

func (f failure) run(t *testing.T, s *server, ca string) {
	d := deploy(t)
	resolvConf := ""
	if f.asksNames {
		resolvConf = "nameserver " + resolver + "\n"
	}
	n := newNetwork(t, resolvConf)
	if f.setup != nil {
		f.setup(n)
	}
	addr, doors := f.open(t, n)
	env := d.env(addr, "WAYPOINT_SERVER_CA="+ca)
	if f.env != nil {
		env = append(env, f.env(d)...)
	}
	tries := watch(t, n, connections, max(1, len(doors)))
	if f.asksNames {
		tries = watch(t, n, datagrams, 2) // for an IPv4 and an IPv6 address
	}
	p := start(t, launch{network: n, env: env}, built.child, "say", fmt.Sprint(childsCode))
	first := p.greets(1)
	if first.after > startLimit {
		t.Errorf("the child was started after %s", first.after)
	}
	if first.text != "" {
		t.Errorf("the child has the configuration %q", first.text)
	}
	f.observe(t, p, tries)
	taken := "no: hopeless"
	if !f.hopeless {
		mended := time.Now()
		f.repair(t, n, doors, s.addr)
		takesUp(t, d, p)
		taken = time.Since(mended).Round(time.Millisecond).String()
	}
	p.signal(15)
	if got := p.code(); got != childsCode {
		t.Errorf("exit status %d, want the child's %d", got, childsCode)
	}
	p.intact()
	t.Logf("%-36s child after %-8s %2d tries, gaps %-50s taken up after %s",
		f.name, first.after.Round(time.Millisecond), len(tries.times()), fmt.Sprint(tries.gaps()), taken)
}

// open opens the doors and returns the addresses to configure.
func (f failure) open(t *testing.T, n *network) (string, []*door) {
	var doors []*door
	var addrs []string
	for i, m := range f.doors {
		addr := fmt.Sprintf("127.0.0.%d%s", i+1, port)
		addrs = append(addrs, addr)
		if m == nil {
			doors = append(doors, nil)
			continue
		}
		doors = append(doors, open(t, n.listen(addr), m))
	}
	if f.addr != "" {
		return f.addr, nil
	}
	return strings.Join(addrs, ","), doors
}

// repair makes a good server of the last address.
func (f failure) repair(t *testing.T, n *network, doors []*door, addr string) {
	switch {
	case f.mend != nil:
		f.mend(n)
		open(t, n.listen(silent+port), forward(addr, 0))
	case doors[len(doors)-1] == nil:
		open(t, n.listen(fmt.Sprintf("127.0.0.%d%s", len(doors), port)), forward(addr, 0))
	default:
		doors[len(doors)-1].change(forward(addr, 0))
	}
}

// observe waits for further tries and checks that they come ever later, and
// that their cause is told once.
func (f failure) observe(t *testing.T, p *program, tries *tries) {
	t.Helper()
	if f.says != "" {
		p.complains(f.says)
	}
	if !f.noTries {
		tries.await(p)
		// The first two pauses are at most 200 ms, the fourth at least 400.
		if gaps := tries.gaps(); slices.Max(gaps[2:]) < slices.Min(gaps[:2]) {
			t.Errorf("the gaps between tries do not grow: %s", gaps)
		}
	}
	if lines := p.says("cause"); len(lines) != 1 {
		t.Errorf("the cause is told %d times after %d tries:\n%s", len(lines), len(tries.times()), strings.Join(lines, "\n"))
	}
}

// takesUp waits until a late configuration, logs and exec have come.
func takesUp(t *testing.T, d *deployment, p *program) {
	t.Helper()
	instance := d.instance()
	out, code, err := d.exec(within(t, patience), instance.GetId(), "sh", "-c", `echo "$GREETING"; exit 3`)
	check(t, err)
	if code != 3 || out != d.greeting+"\n" {
		t.Errorf("exec: status %d, output %q; want 3 and the configuration's %q", code, out, d.greeting)
	}
	p.until("the early lines in the log", func() bool { return strings.Contains(d.logs(), "out 99\nready\n") })
	if again := p.greets(2); again.text != d.greeting {
		t.Errorf("the child was restarted with %q, want %q", again.text, d.greeting)
	}
	p.until("the end of the second start's output", func() bool { return strings.Count(p.out.String(), "ready\n") == 2 })
}
