package state

import (
	"testing"

	"waypoint/api/configpb"
)

func TestMaxUnavailableIsRoundedDownAndAtLeastOne(t *testing.T) {
	for _, c := range []struct {
		text      string
		instances int
		want      int
	}{
		{"", 0, 1}, {"", 3, 1}, {"", 7, 1}, {"", 8, 2}, {"", 11, 2}, {"", 100, 25},
		{"1", 10, 1}, {"3", 10, 3}, {"3", 2, 3}, {"2147483647", 1, 2147483647},
		{"1%", 10, 1}, {"1%", 199, 1}, {"1%", 200, 2}, {"33%", 10, 3}, {"50%", 3, 1}, {"100%", 5, 5}, {"100%", 0, 1},
		{"none", 8, 2}, {"0", 8, 2}, {"101%", 8, 2}, // refused when set; if there at all, the default
	} {
		if got := MaxUnavailable(&configpb.Policy{MaxUnavailable: c.text}, c.instances); got != c.want {
			t.Errorf("%q of %d instances: %d, want %d", c.text, c.instances, got, c.want)
		}
	}
	if got := MaxUnavailable(nil, 8); got != 2 {
		t.Errorf("no policy: %d of 8 instances, want 2", got)
	}
}

func TestMaxUnavailableIsChecked(t *testing.T) {
	for _, text := range []string{"1", "12", "2147483647", "1%", "25%", "100%"} {
		if !ValidMaxUnavailable(text) {
			t.Errorf("%q is refused", text)
		}
	}
	for _, text := range []string{"", "0", "-1", "+1", "1.5", "0%", "101%", "%", "1%%", "1 %", " 1", "2147483648", "0x10", "1_0", "half"} {
		if ValidMaxUnavailable(text) {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestPolicyIsFilledWithDefaults(t *testing.T) {
	filled := FillPolicy(nil)
	if filled.GetReload() != configpb.Reload_RELOAD_RESTART || filled.GetSignal() != "" || filled.GetMaxUnavailable() != "25%" {
		t.Errorf("nothing set: %v", filled)
	}
	given := &configpb.Policy{Reload: configpb.Reload_RELOAD_SIGNAL, Signal: "HUP", MaxUnavailable: "2"}
	filled = FillPolicy(given)
	if filled.GetReload() != given.GetReload() || filled.GetSignal() != "HUP" || filled.GetMaxUnavailable() != "2" || filled == given {
		t.Errorf("everything set: %v", filled)
	}
}
