package ids_test

import (
	"testing"
	"time"

	"waypoint/internal/ids"
)

func TestNewIdsAreBornNowAndDiffer(t *testing.T) {
	before := time.Now().Add(-time.Millisecond)
	seen := map[string]bool{}
	for range 1000 {
		id := ids.New()
		if seen[id] {
			t.Fatalf("%s was made twice", id)
		}
		seen[id] = true
		born, err := ids.Time(id)
		if err != nil || born.Before(before) || born.After(time.Now()) {
			t.Fatalf("%s is born %v (%v)", id, born, err)
		}
	}
}

func TestIdsSortByTheirBirth(t *testing.T) {
	start := time.UnixMilli(1_700_000_000_000)
	last := ""
	for i := range 100 {
		id := ids.At(start.Add(time.Duration(i) * time.Millisecond))
		if id <= last {
			t.Fatalf("%s does not sort after %s", id, last)
		}
		last = id
	}
}

func TestDerivedIdsAreTheSameForTheSameRequest(t *testing.T) {
	request := ids.At(time.UnixMilli(1_700_000_000_123))
	first, again := ids.Derive(request, 0), ids.Derive(request, 0)
	if first != again {
		t.Errorf("%s became %s, then %s", request, first, again)
	}
	if first == request || first == ids.Derive(request, 1) || first == ids.Derive(ids.New(), 0) {
		t.Error("different requests or numbers give one id")
	}
	born, err := ids.Time(first)
	if err != nil || born.UnixMilli() != 1_700_000_000_123 {
		t.Errorf("the derived id is born %v (%v)", born, err)
	}
	// Two builds must agree, or a retry through a newer node would differ.
	if got, want := ids.Derive("01HF7YAT00TESTTESTTESTTEST", 7), "01HF7YAT009N7JA73TV5Q33Q42"; got != want {
		t.Errorf("the derivation has changed: %s, was %s", got, want)
	}
}

func TestDeriveOfAMalformedRequestIsStillAnId(t *testing.T) {
	if born, err := ids.Time(ids.Derive("nonsense", 3)); err != nil || born.UnixMilli() != 0 {
		t.Errorf("it is born %v (%v)", born, err)
	}
}

func TestTimeReadsCommandsOfACall(t *testing.T) {
	want := time.UnixMilli(1_700_000_000_000)
	id := ids.At(want)
	for _, text := range []string{id, id + "/0", id + "/17"} {
		if got, err := ids.Time(text); err != nil || !got.Equal(want) {
			t.Errorf("Time(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", id + "/", id + "/-1", id + "/x", id + "/1/2", id[1:], "U" + id[1:], id + "/9999999999"} {
		if got, err := ids.Time(text); err == nil {
			t.Errorf("Time(%q) = %v, want an error", text, got)
		}
	}
}

func TestTimesThatAnIdCannotHold(t *testing.T) {
	if born, err := ids.Time(ids.At(time.Time{})); err != nil || born.UnixMilli() != 0 {
		t.Errorf("year 1 became %v (%v)", born, err)
	}
	if _, err := ids.Time(ids.At(time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC))); err != nil {
		t.Errorf("year 20000: %v", err)
	}
}
