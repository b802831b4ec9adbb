package cluster

import (
	"testing"
)

func TestBootstrappedNodeAppliesAndReads(t *testing.T) {
	t.Parallel()
	a := first(t, "a")
	if res := a.apply("p"); res.GetIndex() == 0 {
		t.Error("the result has no index")
	}
	if err := a.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !a.sees("p") {
		t.Error("the change is not there")
	}
}

func TestThreeNodesBecomeVotersAndShareState(t *testing.T) {
	t.Parallel()
	all := three(t)
	for _, writer := range all {
		name := "by-" + writer.cfg.Name
		writer.apply(name)
		if !writer.sees(name) {
			t.Errorf("%s has not applied its own change", writer.cfg.Name)
		}
		for _, reader := range all {
			if err := reader.Fresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !reader.sees(name) {
				t.Errorf("%s does not see %s at once", reader.cfg.Name, name)
			}
		}
	}
}
