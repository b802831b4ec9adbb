package cluster

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

func TestRaftSaysTheSameOfAPeerOnceInAWhile(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	q := newQuiet(hclog.New(&hclog.LoggerOptions{Output: &out}), func() time.Time { return now })
	for range 5 {
		q.Error("failed to heartbeat to", "peer", "a", "backoff time", time.Second)
		q.Error("failed to heartbeat to", "peer", "b")
		q.Warn("failed to contact quorum of nodes, stepping down")
	}
	if got := strings.Count(out.String(), "peer=a"); got != 1 {
		t.Errorf("said %d times of one peer:\n%s", got, out.String())
	}
	if got := strings.Count(out.String(), "stepping down"); got != 5 {
		t.Errorf("what is about no peer was said %d times of 5", got)
	}
	out.Reset()
	now = now.Add(sayAgain)
	q.Error("failed to heartbeat to", "peer", "a")
	if !strings.Contains(out.String(), "left-out=4") {
		t.Errorf("not told how often it was left out: %s", out.String())
	}
}
