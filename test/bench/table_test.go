package main

import (
	"strings"
	"testing"
	"time"
)

func TestBars(t *testing.T) {
	samples, peer := []float64{1, 9, 3}, []float64{2, 2, 8} // medians 3 and 2
	for name, tt := range map[string]struct {
		bar  bar
		want string
	}{
		"none":             {bar{}, ""},
		"median low":       {bar{atMost, 3}, verdictHeld},
		"median too high":  {bar{atMost, 2.9}, verdictMissed},
		"median high":      {bar{atLeast, 3}, verdictHeld},
		"median too low":   {bar{atLeast, 3.1}, verdictMissed},
		"each low":         {bar{neverAbove, 9}, verdictHeld},
		"one too high":     {bar{neverAbove, 8.9}, verdictMissed},
		"peer is slower":   {bar{ratioAtLeast, 1.5}, verdictHeld},
		"peer is too fast": {bar{ratioAtLeast, 1.6}, verdictMissed},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (row{samples: samples, against: peer, bar: tt.bar}).verdict(); got != tt.want {
				t.Errorf("verdict is %q, want %q", got, tt.want)
			}
		})
	}
	if got := (row{samples: samples, bar: bar{ratioAtLeast, 0.1}}).verdict(); got != verdictMissed {
		t.Errorf("without a peer's figures the verdict is %q", got)
	}
	if got := (row{bar: bar{atMost, 1}}).verdict(); got != verdictMissed {
		t.Errorf("without figures the verdict is %q", got)
	}
}

func TestTableCountsMissedBars(t *testing.T) {
	var out strings.Builder
	missed, err := printTable(&out, []row{
		{name: "good", samples: []float64{2}, peer: "etcd", against: []float64{1}, bar: bar{ratioAtLeast, 2}},
		{name: "bad", samples: []float64{1}, peer: "etcd", against: []float64{1}, bar: bar{ratioAtLeast, 2}},
	})
	if err != nil || missed != 1 || !strings.Contains(out.String(), ">= 2.00x") {
		t.Errorf("%d bars missed, %v:\n%s", missed, err, &out)
	}
}

func TestWaitsOfWriters(t *testing.T) {
	at := func(ms ...int) (all []time.Time) {
		for _, m := range ms {
			all = append(all, time.UnixMilli(int64(m)))
		}
		return all
	}
	// The long wait of the second writer was over before the strike.
	w := &witness{answers: [][]time.Time{at(0, 80, 130, 150), at(0, 95, 180, 190)}}
	one, all := w.gaps(time.UnixMilli(100))
	if one != 85*time.Millisecond || all != 35*time.Millisecond {
		t.Errorf("one writer waited %s, all of them %s", one, all)
	}
}
