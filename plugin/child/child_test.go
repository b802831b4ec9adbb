package child

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"waypoint/errs"
	"waypoint/internal/wait"
)

func TestCancelEndsTheWholeGroup(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Command{Args: []string{"sh", "-c", "sleep 300 & echo $!; wait"}, Output: w})
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errs.Is(err, errs.Canceled) {
		t.Errorf("cancelled command: %v", err)
	}
	wait.For(t, 5*time.Second, "the grandchild to end", func() bool { return ended(pid) })
}

// ended counts a zombie as ended: who reaps orphans here is not ours to say.
func ended(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func TestExitStatusIsAnError(t *testing.T) {
	err := Run(context.Background(), Command{Args: []string{"sh", "-c", "exit 3"}, Output: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error is %v", err)
	}
}
