package local

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"waypoint/errs"
	"waypoint/plugin"
	"waypoint/plugin/child"
)

// gate keeps the process from becoming the instance until it has been written
// down: a runner that dies in between closes the pipe, and the process ends.
const gate = `read -r go && exec "$@" </dev/null`

// envDeployment is a variable that an instance and its processes have.
const envDeployment = "WAYPOINT_DEPLOYMENT_ID"

// start starts instance n (from 1) and adds it to the record.
func (p *Platform) start(req *plugin.DeployRequest, body *Body, rec *record, n int) (*process, error) {
	output, err := openLog(p.dir(req.ID), body.Log, n)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	hold, release, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer hold.Close()
	defer release.Close()
	args := append([]string{"sh", "-c", gate, "sh", req.Entrypoint.Binary}, body.Command...)
	started, err := os.StartProcess("/bin/sh", args, &os.ProcAttr{
		Dir:   body.Dir,
		Env:   environ(req, body),
		Files: []*os.File{hold, output, output},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, errs.New(errs.Invalid, "%w", err)
	}
	p.own(started.Pid)
	born, err := startTime(started.Pid)
	if err != nil {
		return nil, errs.New(errs.Internal, "read the start time of pid %d: %w", started.Pid, err)
	}
	proc := process{PID: started.Pid, Start: born}
	if err := started.Release(); err != nil {
		return nil, err
	}
	rec.Processes = append(rec.Processes, proc)
	if err := rec.save(p.dir(req.ID)); err != nil {
		return nil, errs.New(errs.Internal, "write down the processes: %w", err)
	}
	_, err = release.WriteString("go\n")
	return &proc, err
}

func environ(req *plugin.DeployRequest, body *Body) []string {
	return append(child.Environ(body.Env),
		"WAYPOINT_SERVER_ADDR="+strings.Join(req.Entrypoint.ServerAddrs, ","),
		"WAYPOINT_SERVER_CA="+req.Entrypoint.ServerCA,
		envDeployment+"="+req.ID,
		"WAYPOINT_ENTRYPOINT_TOKEN="+req.Entrypoint.Token,
	)
}

func logPath(dir string, n int) string { return filepath.Join(dir, fmt.Sprintf("%d.log", n)) }

func openLog(dir, kind string, n int) (*os.File, error) {
	if kind == "none" {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	return os.OpenFile(logPath(dir, n), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

// tails shows what the instances of a failed deployment said last.
func (p *Platform) tails(req *plugin.DeployRequest) {
	logs, err := filepath.Glob(filepath.Join(p.dir(req.ID), "*.log"))
	if err != nil {
		return
	}
	for _, path := range logs {
		if tail := tail(path, 2048); len(tail) > 0 {
			fmt.Fprintf(req.Output, "end of %s:\n%s\n", filepath.Base(path), bytes.TrimRight(tail, "\n"))
		}
	}
}

// tail returns the whole lines in the last limit bytes of a file.
func tail(path string, limit int64) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil
	}
	text := make([]byte, min(size, limit))
	if n, err := f.ReadAt(text, max(0, size-limit)); err != nil && err != io.EOF {
		text = text[:n]
	}
	if size > limit {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	return text
}

// own notes a child to be reaped.
func (p *Platform) own(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.children[pid] = true
}

// reap takes the exit status of children that have ended. Instances outlive the
// operation that started them, so nobody waits for them; this is called by each
// operation instead.
func (p *Platform) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pid := range p.children {
		got, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		if got == pid || err == syscall.ECHILD {
			delete(p.children, pid)
		}
	}
}
