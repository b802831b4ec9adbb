package harness

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process uses at a moment.
type Usage struct {
	Resident int64         // bytes
	CPU      time.Duration // user and system, since its start
	Threads  int
	Files    int // open descriptors; -1 if they may not be counted
}

// tick is the kernel's unit of a process's time: USER_HZ, 100 on every Linux.
const tick = 10 * time.Millisecond

// UsageOf reads what a process uses.
func UsageOf(pid int) (Usage, error) {
	u := Usage{Files: -1}
	dir := fmt.Sprintf("/proc/%d", pid)
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "VmRSS:":
			kib, _ := strconv.ParseInt(fields[1], 10, 64)
			u.Resident = kib << 10
		case "Threads:":
			u.Threads, _ = strconv.Atoi(fields[1])
		}
	}
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return u, err
	}
	// The name in parentheses may hold blanks; what follows it does not.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return u, fmt.Errorf("%s/stat has %d fields after the name", dir, len(fields))
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	u.CPU = time.Duration(user+system) * tick
	if files, err := os.ReadDir(filepath.Join(dir, "fd")); err == nil {
		u.Files = len(files)
	}
	return u, nil
}
