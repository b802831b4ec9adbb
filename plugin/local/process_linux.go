package local

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// handle is a process that can be signalled without a doubt who it is: the
// kernel ties a pidfd to the process, not to the number.
type handle struct {
	process
	pid int
	fd  int
}

// open returns nil if the process has ended.
func (p process) open() *handle {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return nil
	}
	h := &handle{process: p, pid: p.PID, fd: fd}
	// Checked after opening: whoever the descriptor means cannot change now.
	if !p.alive() {
		h.close()
		return nil
	}
	return h
}

func (h *handle) close() { _ = unix.Close(h.fd) }

// signal sends sig. A process that has ended is no error.
func (h *handle) signal(sig syscall.Signal) error {
	if err := unix.PidfdSendSignal(h.fd, sig, nil, 0); err != nil && err != unix.ESRCH {
		return err
	}
	return nil
}

// killSession kills the process and what is left of its session, which nobody
// can enter from outside. Members are opened while the leader is still alive,
// so that none can be a stranger.
func (h *handle) killSession() {
	var members []*handle
	for _, member := range sessionMembers(h.pid) {
		if m := member.open(); m != nil {
			members = append(members, m)
		}
	}
	if !h.alive() {
		members = nil
	}
	_ = h.signal(unix.SIGKILL)
	for _, m := range members {
		_ = m.signal(unix.SIGKILL)
		m.close()
	}
}

// alive tells whether the process is there and has not ended. A zombie has.
func (p process) alive() bool {
	stat, err := readStat(p.PID)
	return err == nil && stat.start == p.Start && stat.state != 'Z' && stat.state != 'X'
}

func startTime(pid int) (uint64, error) {
	stat, err := readStat(pid)
	return stat.start, err
}

func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id)), err
}

func sessionMembers(session int) []process {
	paths, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	var members []process
	for _, path := range paths {
		pid, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			continue
		}
		if stat, err := readStat(pid); err == nil && stat.session == session && pid != session {
			members = append(members, process{PID: pid, Start: stat.start})
		}
	}
	return members
}

// leftBehind returns what is left of a session whose leader has ended, as far
// as it has the deployment in its environment: the leader's number may belong
// to another session by now.
func leftBehind(session int, deployment string) []process {
	var left []process
	for _, member := range sessionMembers(session) {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", member.PID))
		if err == nil && slices.Contains(strings.Split(string(environ), "\x00"), envDeployment+"="+deployment) {
			left = append(left, member)
		}
	}
	return left
}

// stat is what is used of /proc/<pid>/stat; see proc_pid_stat(5).
type stat struct {
	state   byte
	session int
	start   uint64 // clock ticks since boot
}

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	// The second field is the command's name, which may contain anything.
	at := bytes.LastIndexByte(text, ')')
	fields := strings.Fields(string(text[at+1:]))
	if at < 0 || len(fields) < 20 {
		return stat{}, fmt.Errorf("/proc/%d/stat has too few fields", pid)
	}
	session, err := strconv.Atoi(fields[3])
	if err != nil {
		return stat{}, err
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	return stat{state: fields[0][0], session: session, start: start}, err
}
