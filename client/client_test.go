package client

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"waypoint/api/logspb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/internal/wait"
	"waypoint/protocol"
)

func TestRefusesUnusableConfiguration(t *testing.T) {
	ca := newAuthority(t)
	for name, cfg := range map[string]Config{
		"no address":   {CA: ca.pin()},
		"no port":      {Addrs: []string{"localhost"}, CA: ca.pin()},
		"no CA":        {Addrs: []string{"localhost:1"}},
		"short pin":    {Addrs: []string{"localhost:1"}, CA: "sha256:00"},
		"neither form": {Addrs: []string{"localhost:1"}, CA: "hello"},
	} {
		if _, err := New(cfg); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServerIsWhoTheAuthoritySays(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	tests := map[string]struct {
		ca, name string
		want     string // in the error; empty: the call succeeds
	}{
		"pin":                {ca: ours.pin(), name: "server.c1"},
		"PEM":                {ca: ours.pem(), name: "server.c1"},
		"two PEMs":           {ca: other.pem() + ours.pem(), name: "server.c1"},
		"pin of another CA":  {ca: other.pin(), name: "server.c1", want: "fingerprint"},
		"PEM of another CA":  {ca: other.pem(), name: "server.c1", want: "unknown authority"},
		"not a server's own": {ca: ours.pin(), name: "node.c1", want: "not one of a server"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n := startNode(t, ours.certificate(t, tt.name))
			c := newClient(t, Config{Addrs: []string{n.addr}, CA: tt.ca})
			ctx, cancel := context.WithTimeout(t.Context(), failSoon(tt.want != ""))
			defer cancel()
			_, err := call(ctx, c)
			switch {
			case tt.want == "" && err != nil:
				t.Fatal(err)
			case tt.want != "" && (!errs.Is(err, errs.Unauthenticated) || !strings.Contains(err.Error(), tt.want)):
				t.Fatalf("error is %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestDialsAsItIsTold(t *testing.T) {
	ca := newAuthority(t)
	n := startNode(t, ca.certificate(t, "server.c1"))
	c := newClient(t, Config{Addrs: []string{"192.0.2.1:9701"}, CA: ca.pin(),
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			if addr != "192.0.2.1:9701" {
				return nil, fmt.Errorf("asked for %s", addr)
			}
			return dial(ctx, n.addr)
		}})
	_, err := call(t.Context(), c)
	check(t, err)
}

// failSoon is how long a call may take that is bound to fail, or to succeed.
func failSoon(soon bool) time.Duration {
	if soon {
		return 300 * time.Millisecond
	}
	return 20 * time.Second
}

func TestUnaryMovesToTheNextNodeUnderTheSameRequestID(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.certificate(t, "server.c1")
	a, b := startNode(t, cert), startNode(t, cert)
	c := newClient(t, Config{Addrs: []string{a.addr, b.addr}, CA: ca.pin(), Token: "secret"})

	a.set(func() {
		a.answer = func(context.Context, string) error { return errs.New(errs.Unavailable, "no leader") }
	})
	got, err := call(t.Context(), c)
	check(t, err)
	if got != b.addr || c.Current() != b.addr {
		t.Fatalf("done by %s, current %s, want %s", got, c.Current(), b.addr)
	}
	id := a.header(0, protocol.HeaderRequestID)
	if id == "" || id != b.header(0, protocol.HeaderRequestID) {
		t.Fatalf("request ids %q and %q", id, b.header(0, protocol.HeaderRequestID))
	}
	if got := b.header(0, protocol.HeaderAuthorization); got != "Bearer secret" {
		t.Fatalf("authorization %q", got)
	}
	if got := b.header(0, protocol.HeaderRanges); got != protocol.EncodeRanges(protocol.Current()) {
		t.Fatalf("ranges %q", got)
	}
}

func TestKilledNodeIsLeftAtOnce(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.certificate(t, "server.c1")
	a, b := startNode(t, cert), startNode(t, cert)
	c := newClient(t, Config{Addrs: []string{a.addr, b.addr}, CA: ca.pin()})
	entered := make(chan struct{}, 1)
	a.set(func() {
		a.answer = func(ctx context.Context, _ string) error {
			entered <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}
	})
	done := make(chan error, 1)
	go func() {
		_, err := call(t.Context(), c)
		done <- err
	}()
	<-entered
	began := time.Now()
	a.kill()
	check(t, <-done)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("moved after %s", took)
	}
	if c.Current() != b.addr {
		t.Fatalf("current is %s", c.Current())
	}
}

func TestDefiniteAnswersAreNotRepeated(t *testing.T) {
	ca := newAuthority(t)
	n := startNode(t, ca.certificate(t, "server.c1"))
	c := newClient(t, Config{Addrs: []string{n.addr}, CA: ca.pin()})
	kinds := []errs.Kind{errs.NotFound, errs.Invalid, errs.Protocol, errs.Unauthenticated, errs.Internal}
	for i, kind := range kinds {
		n.set(func() { n.answer = func(context.Context, string) error { return errs.New(kind, "no") } })
		if _, err := call(t.Context(), c); errs.KindOf(err) != kind {
			t.Errorf("%s came back as %v", kind, err)
		}
		if n.calls() != i+1 {
			t.Fatalf("%s: %d calls", kind, n.calls()-i)
		}
	}
}

func TestCallWhoseNodeGaveUpIsAskedForElsewhere(t *testing.T) {
	ca := newAuthority(t)
	a, b := startNode(t, ca.certificate(t, "server.c1")), startNode(t, ca.certificate(t, "server.c1"))
	c := newClient(t, Config{Addrs: []string{a.addr, b.addr}, CA: ca.pin()})
	a.set(func() {
		a.answer = func(context.Context, string) error { return errs.New(errs.OutcomeUnknown, "no answer yet") }
	})
	_, err := call(t.Context(), c)
	check(t, err)
	if a.calls() != 1 || b.calls() != 1 || a.header(0, protocol.HeaderRequestID) != b.header(0, protocol.HeaderRequestID) {
		t.Errorf("%d and %d calls, ids %s and %s", a.calls(), b.calls(),
			a.header(0, protocol.HeaderRequestID), b.header(0, protocol.HeaderRequestID))
	}
	// The servers know nothing any more of a request of long ago.
	late := WithRequestID(t.Context(), ids.At(time.Now().Add(-2*dedupeWindow)))
	b.set(func() { b.answer = a.answer })
	if _, err := call(late, c); !errs.Is(err, errs.OutcomeUnknown) || b.calls() != 2 {
		t.Errorf("after %d calls: %v", b.calls(), err)
	}
}

func TestOutcomeIsUnknownWhenTheCallWasLost(t *testing.T) {
	ca := newAuthority(t)
	n := startNode(t, ca.certificate(t, "server.c1"))
	c := newClient(t, Config{Addrs: []string{n.addr}, CA: ca.pin()})
	c.tuning.attempt, c.tuning.unary = 30*time.Millisecond, 200*time.Millisecond
	n.set(func() {
		n.answer = func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }
	})
	_, err := call(t.Context(), c)
	if !errs.Is(err, errs.OutcomeUnknown) || !strings.Contains(err.Error(), n.addr) {
		t.Fatal(err)
	}
	if n.calls() < 2 {
		t.Fatalf("%d calls", n.calls())
	}
}

func TestErrorNamesEveryAddressAndItsAnswer(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	foreign := startNode(t, other.certificate(t, "server.c2"))
	refused := unusedAddr(t)
	silent := listen(t)
	c := newClient(t, Config{Addrs: []string{refused, foreign.addr, silent.Addr().String()}, CA: ca.pin()})
	c.tuning = tuning{connect: 100 * time.Millisecond, stagger: 10 * time.Millisecond,
		attempt: time.Second, unary: 300 * time.Millisecond, longest: time.Minute, refresh: time.Minute}
	_, err := call(t.Context(), c)
	if !errs.Is(err, errs.Unavailable) {
		t.Fatal(err)
	}
	for _, want := range []string{
		refused + ": connect: connection refused",
		foreign.addr + ": the server's chain has no authority",
		silent.Addr().String() + ": connected, but no TLS handshake in time",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
}

// Whoever tells a cause once must know it again: however a server cuts a
// connection, and whatever port ours came from, the words are the same.
func TestTheSameCauseIsToldInTheSameWords(t *testing.T) {
	ca := newAuthority(t)
	lis := listen(t)
	go func() {
		for reset := false; ; reset = !reset {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			if !reset {
				_, _ = conn.Read(make([]byte, 1<<10)) // what is not read makes it a reset
			}
			conn.Close()
		}
	}()
	c := newClient(t, Config{Addrs: []string{lis.Addr().String()}, CA: ca.pin()})
	for range 6 {
		_, err := c.connect(t.Context(), lis.Addr().String())
		if err == nil || err.Error() != "it closed the connection" {
			t.Errorf("error is %v", err)
		}
	}
}

func TestSilentAddressDelaysButDoesNotBlock(t *testing.T) {
	ca := newAuthority(t)
	n := startNode(t, ca.certificate(t, "server.c1"))
	c := newClient(t, Config{Addrs: []string{listen(t).Addr().String(), n.addr}, CA: ca.pin()})
	began := time.Now()
	got, err := call(t.Context(), c)
	check(t, err)
	if got != n.addr || time.Since(began) > c.tuning.connect {
		t.Fatalf("%s after %s", got, time.Since(began))
	}
}

func TestCarriesTheHighestIndexOfTheNewestEpoch(t *testing.T) {
	ca := newAuthority(t)
	n := startNode(t, ca.certificate(t, "server.c1"))
	c := newClient(t, Config{Addrs: []string{n.addr}, CA: ca.pin()})
	steps := []struct {
		epoch string
		index uint64
		want  string // what the call after next carries
	}{
		{"01A", 7, "01A/7"}, {"01A", 5, "01A/7"}, {"01B", 2, "01B/2"}, {"01A", 9, "01B/2"}, {"01B", 3, "01B/3"},
	}
	for i, s := range steps {
		n.set(func() { n.epoch, n.index = s.epoch, s.index })
		_, err := call(t.Context(), c)
		check(t, err)
		_, err = call(WithStale(t.Context()), c)
		check(t, err)
		if got := n.header(2*i+1, protocol.HeaderIndex); got != s.want {
			t.Errorf("step %d: sent %q, want %q", i, got, s.want)
		}
		if n.header(2*i+1, protocol.HeaderStale) == "" {
			t.Error("stale was not carried")
		}
	}
}

func TestRequestIDsAreBornByTheServersClock(t *testing.T) {
	ca := newAuthority(t)
	n := startNode(t, ca.certificate(t, "server.c1"))
	n.clock = func() time.Time { return time.Now().Add(48 * time.Hour) }
	c := newClient(t, Config{Addrs: []string{n.addr}, CA: ca.pin()})
	_, err := call(t.Context(), c)
	check(t, err)
	// The first id may be of our own clock; the server accepts or refuses it.
	_, err = call(t.Context(), c)
	check(t, err)
	born, err := ids.Time(n.header(1, protocol.HeaderRequestID))
	check(t, err)
	if off := n.clock().Sub(born); off > time.Minute || off < -time.Minute {
		t.Fatalf("id is %s off", off)
	}
	_, err = call(WithRequestID(t.Context(), "01ARZ3NDEKTSV4RRFFQ69G5FAV"), c)
	check(t, err)
	if got := n.header(2, protocol.HeaderRequestID); got != "01ARZ3NDEKTSV4RRFFQ69G5FAV" {
		t.Fatalf("own id became %s", got)
	}
}

func TestCallRefusedForOurClockIsMadeOnceMore(t *testing.T) {
	ca := newAuthority(t)
	n := startNode(t, ca.certificate(t, "server.c1"))
	n.clock = func() time.Time { return time.Now().Add(48 * time.Hour) }
	n.answer = func(_ context.Context, id string) error {
		if born, err := ids.Time(id); err != nil || n.clock().Sub(born) > dedupeWindow {
			return errs.New(errs.OutcomeUnknown, "request %s is too old", id)
		}
		return nil
	}
	c := newClient(t, Config{Addrs: []string{n.addr}, CA: ca.pin()})
	_, err := call(t.Context(), c)
	check(t, err)
	c.session.time = time.Now() // the servers' time jumps
	_, err = call(t.Context(), c)
	check(t, err)
}

func TestBrokenStreamIsUnavailableAndReopensElsewhere(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.certificate(t, "server.c1")
	a, b := startNode(t, cert), startNode(t, cert)
	for _, n := range []*node{a, b} {
		n.index = 4
		n.stream = func(s logspb.Logs_StreamServer) error {
			if err := s.Send(&logspb.StreamResponse{Notice: n.addr}); err != nil {
				return err
			}
			<-s.Context().Done()
			return s.Context().Err()
		}
	}
	c := newClient(t, Config{Addrs: []string{a.addr, b.addr}, CA: ca.pin()})
	open := func() (logspb.Logs_StreamClient, string) {
		s, err := logspb.NewLogsClient(c.Conn()).Stream(t.Context(), &logspb.StreamRequest{})
		check(t, err)
		first, err := s.Recv()
		check(t, err)
		return s, first.GetNotice()
	}
	s, at := open()
	if at != a.addr {
		t.Fatalf("opened on %s", at)
	}
	if got := c.session.header(); got != "01A/4" {
		t.Fatalf("index %q", got)
	}
	a.kill()
	if _, err := s.Recv(); !errs.Is(err, errs.Unavailable) {
		t.Fatal(err)
	}
	if _, at = open(); at != b.addr {
		t.Fatalf("reopened on %s", at)
	}
}

func TestAvoidLeavesOpenStreamsAlone(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.certificate(t, "server.c1")
	a, b := startNode(t, cert), startNode(t, cert)
	more := make(chan struct{})
	a.stream = func(s logspb.Logs_StreamServer) error {
		<-more
		return s.Send(&logspb.StreamResponse{Notice: "still here"})
	}
	c := newClient(t, Config{Addrs: []string{a.addr, b.addr}, CA: ca.pin()})
	sticky := Sticky(t.Context())
	s, err := logspb.NewLogsClient(c.Conn()).Stream(sticky, &logspb.StreamRequest{})
	check(t, err)
	if got := NodeOf(sticky); got != a.addr {
		t.Fatal(got)
	}
	c.Avoid(a.addr)
	if got, err := call(t.Context(), c); err != nil || got != b.addr {
		t.Fatal(got, err)
	}
	beside, err := logspb.NewLogsClient(c.Conn()).Stream(sticky, &logspb.StreamRequest{})
	check(t, err)
	close(more)
	if got, err := beside.Recv(); err != nil || got.GetNotice() != "still here" {
		t.Fatal(got, err)
	}
	if _, err = beside.Recv(); err == nil {
		t.Fatal("stream did not end")
	}
	if got, err := s.Recv(); err != nil || got.GetNotice() != "still here" {
		t.Fatal(got, err)
	}
	_, err = s.Recv()
	if err == nil {
		t.Fatal("stream did not end")
	}
	wait.For(t, 10*time.Second, "the old link to close", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.open) == 1
	})
}

func TestLearnsMembersAndReturnsWhenANodeComesBack(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.certificate(t, "server.c1")
	a, b := startNode(t, cert), startNode(t, cert)
	a.set(func() { a.servers = []string{a.addr} })
	b.set(func() { b.servers = []string{a.addr, b.addr} })
	c := newClient(t, Config{Addrs: []string{a.addr}, CA: ca.pin(), Token: "t", Spread: true})
	c.tuning.refresh = time.Millisecond
	_, err := call(t.Context(), c)
	check(t, err)
	wait.For(t, 10*time.Second, "the first look at the members", func() bool { return c.Current() == a.addr })
	a.set(func() { a.servers = []string{a.addr, b.addr} })
	// One of two servers is new: half of the clients move, so this one may
	// or may not. Either way it knows the other address now.
	wait.For(t, 10*time.Second, "the new member to be known", func() bool { return c.book.size() == 2 })
	a.kill()
	if got, err := call(t.Context(), c); err != nil || got != b.addr {
		t.Fatal(got, err)
	}
}

func TestMembersToldWithTheFirstAnswerAreNotAskedFor(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.certificate(t, "server.c1")
	a, b := startNode(t, cert), startNode(t, cert)
	a.set(func() { a.tells = []string{a.addr, b.addr} })
	c := newClient(t, Config{Addrs: []string{a.addr}, CA: ca.pin(), Token: "t"})
	_, err := call(t.Context(), c)
	check(t, err)
	wait.For(t, 10*time.Second, "the members to be known", func() bool { return c.book.size() == 2 })
	a.set(func() {
		if a.asked != 0 {
			t.Errorf("it asked %d times", a.asked)
		}
	})
	a.kill()
	if got, err := call(t.Context(), c); err != nil || got != b.addr {
		t.Fatal(got, err)
	}
}

func TestCloseEndsCallsAndStreams(t *testing.T) {
	ca := newAuthority(t)
	n := startNode(t, ca.certificate(t, "server.c1"))
	n.stream = func(s logspb.Logs_StreamServer) error {
		_ = s.Send(&logspb.StreamResponse{})
		<-s.Context().Done()
		return nil
	}
	c := newClient(t, Config{Addrs: []string{n.addr}, CA: ca.pin()})
	s, err := logspb.NewLogsClient(c.Conn()).Stream(t.Context(), &logspb.StreamRequest{})
	check(t, err)
	_, err = s.Recv()
	check(t, err)
	check(t, c.Close())
	if _, err := s.Recv(); err == nil {
		t.Fatal("the stream outlived its client")
	}
	if _, err := call(t.Context(), c); !errs.Is(err, errs.Canceled) {
		t.Fatal(err)
	}
}

func TestCancelledCallReturnsAtOnce(t *testing.T) {
	c := newClient(t, Config{Addrs: []string{listen(t).Addr().String()}, CA: newAuthority(t).pin()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := call(ctx, c); !errs.Is(err, errs.Canceled) {
		t.Fatal(err)
	}
}

// listen makes an address that accepts and never answers.
func listen(t *testing.T) net.Listener {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { lis.Close() })
	return lis
}

// unusedAddr is an address that refuses connections.
func unusedAddr(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer lis.Close()
	return lis.Addr().String()
}
