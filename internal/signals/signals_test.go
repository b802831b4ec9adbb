package signals

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestNamesHaveTheNumbersOfTheSystem(t *testing.T) {
	known := 0
	for n := 1; n < 32; n++ {
		name := unix.SignalName(unix.Signal(n))
		if name == "" {
			continue // it has no name in package unix
		}
		known++
		for _, text := range []string{name, name[len("SIG"):]} {
			if got, ok := Number(text); !ok || got != n {
				t.Errorf("%s is %d, %v; want %d", text, got, ok, n)
			}
		}
	}
	if known < 30 {
		t.Errorf("the system has %d names only", known)
	}
}

func TestNumbersAndRealTimeSignals(t *testing.T) {
	for text, want := range map[string]int{
		"1": 1, "64": 64, "09": 9, "hup": 1, "SigUsr1": 10, "IOT": 6, "CLD": 17, "POLL": 29,
		"RTMIN": 34, "SIGRTMIN": 34, "RTMIN+0": 34, "RTMIN+1": 35, "rtmin+30": 64, "RTMAX": 64, "RTMAX-0": 64, "SIGRTMAX-30": 34,
	} {
		if got, ok := Number(text); !ok || got != want {
			t.Errorf("%s is %d, %v; want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{
		"", "SIG", "0", "65", "-1", "+1", "256", "HU", "HUPS", " HUP", "SIGSIGHUP",
		"RTMIN-1", "RTMIN+31", "RTMIN+", "RTMIN++1", "RTMIN1", "RTMAX+1", "RTMAX-31", "RTMAX-",
	} {
		if got, ok := Number(text); ok {
			t.Errorf("%q is taken as %d", text, got)
		}
	}
}
