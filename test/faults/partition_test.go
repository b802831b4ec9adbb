//go:build linux

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"waypoint/test/faults/network"
)

// networkFaults are what happens to packets.
func networkFaults() []fault {
	return []fault{
		{name: "partition", begin: partition},
		{name: "one-way partition", begin: oneWay},
		{name: "isolated leader", begin: isolateLeader},
		{name: "bridge partition", begin: bridge},
		{name: "flapping partition", begin: flap},
		{name: "loss", begin: lossy},
		{name: "delay", begin: delay},
	}
}

// on has an effect on the packets of some paths.
func (s *strike) on(paths []network.Path, what string, e network.Effect) mend {
	s.timeline.note("%s", what)
	before := s.network.Counts(paths...)
	undo := s.network.Disturb(e, paths...)
	return func(context.Context) error {
		undo()
		s.harmed(what, before, paths)
		return nil
	}
}

// harmed notes the end of an effect and how many packets felt it.
func (s *strike) harmed(what string, before network.Counts, paths []network.Path) {
	after := s.network.Counts(paths...)
	s.timeline.note("end of: %s (%d packets arrived, %d of them late, %d were lost)", what,
		after.Delivered-before.Delivered, after.Late-before.Late, after.Dropped-before.Dropped)
}

// cut lets no packet take the paths.
func (s *strike) cut(what string, paths []network.Path) mend {
	return s.on(paths, what, network.Effect{Cut: true})
}

// halves draws two sides of the nodes, neither of them empty, and for each
// host of clients whether it is on one of them or reaches both.
func (s *strike) halves() (one, other []*network.Host) {
	nodes := shuffled(s.random, s.nodeHosts())
	size := 1 + s.random.IntN(len(nodes)-1)
	one, other = nodes[:size:size], nodes[size:len(nodes):len(nodes)]
	for _, h := range s.outsiders() {
		switch s.random.IntN(4) {
		case 0:
			one = append(one, h)
		case 1:
			other = append(other, h)
		}
	}
	return one, other
}

// partition splits the network into two.
func partition(_ context.Context, s *strike) (mend, error) {
	one, other := s.halves()
	return s.cut(fmt.Sprintf("partition: %s | %s", names(one), names(other)), network.Both(one, other)), nil
}

// oneWay lets one half's packets not reach the other; the way back is open.
func oneWay(_ context.Context, s *strike) (mend, error) {
	one, other := s.halves()
	if s.random.IntN(2) == 0 {
		one, other = other, one
	}
	return s.cut(fmt.Sprintf("one-way partition: %s -| %s", names(one), names(other)), network.Between(one, other)), nil
}

// isolateLeader cuts the leader off from the other nodes; its clients may still
// reach it.
func isolateLeader(ctx context.Context, s *strike) (mend, error) {
	leader := s.leader(ctx)
	if leader == nil {
		leader = s.members()[s.random.IntN(len(s.members()))]
	}
	own := []*network.Host{s.nodeHost(leader)}
	from := s.nodeHosts()
	if s.random.IntN(2) == 0 {
		from = append(from, s.outsiders()...)
	}
	return s.cut(fmt.Sprintf("isolate the leader %s from %s", leader.Name, names(from)), network.Both(own, from)), nil
}

// bridge splits the nodes into two halves that only one node reaches both of.
func bridge(_ context.Context, s *strike) (mend, error) {
	nodes := shuffled(s.random, s.nodeHosts())
	middle := 1 + (len(nodes)-1)/2
	one, other := nodes[1:middle], nodes[middle:]
	return s.cut(fmt.Sprintf("bridge partition: %s | %s, and %s between them", names(one), names(other), names(nodes[:1])), network.Both(one, other)), nil
}

// flap makes and mends a partition again and again.
func flap(ctx context.Context, s *strike) (mend, error) {
	one, other := s.halves()
	paths, what := network.Both(one, other), fmt.Sprintf("flapping partition: %s | %s", names(one), names(other))
	before := s.network.Counts(paths...)
	s.timeline.note("%s", what)
	working, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for working.Err() == nil {
			undo := s.network.Disturb(network.Effect{Cut: true}, paths...)
			pause(working, s.between(200*time.Millisecond, 1200*time.Millisecond))
			undo()
			pause(working, s.between(100*time.Millisecond, 800*time.Millisecond))
		}
	}()
	return func(context.Context) error {
		cancel()
		<-done
		s.harmed(what, before, paths)
		return nil
	}, nil
}

// lossy loses and doubles packets on all paths.
func lossy(_ context.Context, s *strike) (mend, error) {
	e := network.Effect{Loss: 0.02 + 0.18*s.random.Float64(), Duplicate: 0.1 * s.random.Float64()}
	return s.everywhere(fmt.Sprintf("lose %.0f %% and double %.0f %% of all packets", 100*e.Loss, 100*e.Duplicate), e), nil
}

// delay holds packets back on all paths, some longer than others.
func delay(_ context.Context, s *strike) (mend, error) {
	e := network.Effect{Delay: s.between(time.Millisecond, 60*time.Millisecond), Jitter: s.between(time.Millisecond, 80*time.Millisecond)}
	what := fmt.Sprintf("hold packets back for %s to %s", e.Delay.Round(time.Millisecond), (e.Delay + e.Jitter).Round(time.Millisecond))
	return s.everywhere(what, e), nil
}

func (s *strike) everywhere(what string, e network.Effect) mend {
	all := append(s.nodeHosts(), s.outsiders()...)
	return s.on(network.Between(all, all), what, e)
}

func shuffled(random *rand.Rand, hosts []*network.Host) []*network.Host {
	random.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	return hosts
}

func names(hosts []*network.Host) string {
	var all []string
	for _, h := range hosts {
		all = append(all, h.Name)
	}
	return strings.Join(all, " ")
}
