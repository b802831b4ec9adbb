package check

// staleReads checks that what was read without a promise of being current can
// have been there at some time. That somebody wrote it before the read ended,
// and that it agrees with what others saw at the same version, is checked with
// all reads.
func staleReads(v *Verdict, key string, ops []Op) {
	made := uint64(0) // no more versions than this can exist
	for i := range ops {
		if ops[i].mayCount() {
			made++
		}
	}
	for i := range ops {
		if o := &ops[i]; o.Kind == StaleRead && o.Outcome == OK && o.Version > made {
			v.violated("version %d of %s cannot have been, there were at most %d writes: %s", o.Version, key, made, o)
		}
	}
}

// seen is how far a client has seen the state.
type seen struct {
	epoch    string
	index    uint64
	versions map[string]uint64
}

// sessions checks that no client's current reads ever go backwards, neither by
// the version of a register that it has read or written nor by the index of the
// state, whatever nodes it talks to. An index of an older epoch is one of
// before a restore. Stale reads are promised nothing and are left out.
func sessions(v *Verdict, history []Op) {
	clients := map[int]*seen{}
	for _, o := range byCall(history) {
		if o.Outcome != OK || o.Kind == StaleRead {
			continue
		}
		s := clients[o.Client]
		if s == nil {
			s = &seen{versions: map[string]uint64{}}
			clients[o.Client] = s
		}
		version := o.Version
		if o.Kind == CAS {
			version = max(version, o.Expect+1)
		}
		if have := s.versions[o.Key]; o.Kind == Read && version < have {
			v.violated("client %d read backwards: it had seen version %d of %s: %s", o.Client, have, o.Key, &o)
		}
		if o.Kind == Read && (o.Epoch < s.epoch || o.Epoch == s.epoch && o.Index != 0 && o.Index < s.index) {
			v.violated("client %d was answered from an older state: it had seen index %d of epoch %s, and was told %d of %s: %s",
				o.Client, s.index, s.epoch, o.Index, o.Epoch, &o)
		}
		s.versions[o.Key] = max(s.versions[o.Key], version)
		s.index, s.epoch = further(s, &o)
	}
}

// further is the further one of what a client has seen and what it is told.
func further(s *seen, o *Op) (index uint64, epoch string) {
	switch {
	case o.Epoch > s.epoch:
		return o.Index, o.Epoch
	case o.Epoch == s.epoch:
		return max(s.index, o.Index), s.epoch
	}
	return s.index, s.epoch
}
