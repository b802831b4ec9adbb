package output

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "just now", 999 * time.Millisecond: "just now", time.Second: "1s ago", 59 * time.Second: "59s ago",
		time.Minute: "1m ago", 59 * time.Minute: "59m ago", 47 * time.Hour: "47h ago", 49 * time.Hour: "2d ago",
		-500 * time.Millisecond: "just now", -90 * time.Second: "in 1m",
	} {
		if got := Ago(now, timestamppb.New(now.Add(-d))); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
	if got := Ago(now, nil); got != "-" {
		t.Errorf("unset: %q", got)
	}
}

func TestTook(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 80 * time.Millisecond: "80ms", 1250 * time.Millisecond: "1.2s", 59990 * time.Millisecond: "59.9s",
		123 * time.Second: "2m 3s", 64 * time.Minute: "1h 4m",
	} {
		if got := Took(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 8 << 10: "8 KiB", 3 << 19: "1.5 MiB", 5 << 30: "5 GiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestTableIsAlignedWithoutSpacesAtTheEnd(t *testing.T) {
	table := NewTable("NAME", "NOTE")
	table.Row("a", "one\ttwo\nthree")
	table.Row("longer", "")
	var b bytes.Buffer
	if err := table.Write(&b); err != nil {
		t.Fatal(err)
	}
	if want := "NAME    NOTE\na       one two three\nlonger  -\n"; b.String() != want {
		t.Errorf("got:\n%q\nwant:\n%q", b.String(), want)
	}
}

func TestJSONIsStableWithDefaultsAndWithoutUnsetMessages(t *testing.T) {
	m := &deploymentpb.AppStatus{Summary: "s", App: &deploymentpb.AppRef{Project: "p"}}
	var many, line bytes.Buffer
	if err := Message(&many, m); err != nil {
		t.Fatal(err)
	}
	if err := MessageLine(&line, m); err != nil {
		t.Fatal(err)
	}
	if want := `{"app":{"project":"p","app":"","workspace":""},"instances":[],"summary":"s","healthy":false}` + "\n"; line.String() != want {
		t.Errorf("got %s want %s", line.String(), want)
	}
	if want := "{\n  \"app\": {\n    \"project\": \"p\",\n"; !strings.HasPrefix(many.String(), want) {
		t.Errorf("got %s", many.String())
	}
}

func TestEnumWord(t *testing.T) {
	if got := Enum(jobpb.StageState_STAGE_STATE_FAILED, "STAGE_STATE_"); got != "failed" {
		t.Error(got)
	}
}
