package local

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"waypoint/errs"
	"waypoint/internal/wait"
	"waypoint/plugin"
)

// body stands in for the project file.
type body func(objects map[string]map[string]string) Body

func (b body) Decode(target any, objects map[string]map[string]string) error {
	*target.(*Body) = b(objects)
	return nil
}

// bench is a platform with an artifact and a fake entrypoint, which "attaches"
// by making a file.
type bench struct {
	*testing.T
	platform *Platform
	dir      string
	attached string
	output   bytes.Buffer
}

const entrypoint = `#!/bin/sh
echo "entrypoint of $WAYPOINT_DEPLOYMENT_ID at $WAYPOINT_SERVER_ADDR"
[ -n "$NO_ATTACH" ] || : >"$ATTACHED/$$"
exec "$@"
`

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, dir: t.TempDir(), attached: t.TempDir()}
	b.platform = New(Config{
		StateDir: filepath.Join(b.dir, "state"), Poll: 10 * time.Millisecond,
		Grace: 5 * time.Second, AttachTimeout: 20 * time.Second,
	})
	b.write("entrypoint", entrypoint)
	b.write("app", "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 0.05; done\n")
	t.Cleanup(func() {
		paths, _ := filepath.Glob(filepath.Join(b.dir, "state", "*"))
		for _, path := range paths {
			b.destroy(filepath.Base(path))
		}
	})
	return b
}

func (b *bench) write(name, text string) {
	b.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o700); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) request(id string, instances int, change func(*Body)) *plugin.DeployRequest {
	return &plugin.DeployRequest{
		App: plugin.App{Project: "shop", Name: "web", Workspace: "default", Dir: b.dir},
		Body: body(func(map[string]map[string]string) Body {
			d := Body{Instances: &instances, Env: map[string]string{"ATTACHED": b.attached}}
			if change != nil {
				change(&d)
			}
			return d
		}),
		Artifact:   &plugin.Artifact{Values: map[string]string{"path": filepath.Join(b.dir, "app")}},
		ID:         id,
		Entrypoint: plugin.Entrypoint{Binary: filepath.Join(b.dir, "entrypoint"), ServerAddrs: []string{"a:1", "b:1"}},
		Attached: func(context.Context) (int, error) {
			files, err := os.ReadDir(b.attached)
			return len(files), err
		},
		Output: &b.output,
	}
}

func (b *bench) record(id string) *record {
	b.Helper()
	rec, err := loadRecord(b.platform.dir(id))
	if err != nil {
		b.Fatal(err)
	}
	return rec
}

func (b *bench) destroy(id string) {
	b.Helper()
	err := b.platform.Destroy(context.Background(), &plugin.DestroyRequest{ID: id, Output: &b.output})
	if err != nil {
		b.Error(err)
	}
}

func TestInstancesRunUntilTheyAreDestroyed(t *testing.T) {
	b := newBench(t)
	made, err := b.platform.Deploy(context.Background(), b.request("d1", 2, nil))
	if err != nil {
		t.Fatal(err, b.output.String())
	}
	other := New(Config{StateDir: t.TempDir()})
	err = other.Destroy(context.Background(), &plugin.DestroyRequest{ID: "d1", Data: made.Data, Output: &b.output})
	if !errs.Is(err, errs.Conflict) {
		t.Errorf("another user's runner: %v", err)
	}
	procs := b.record("d1").Processes
	if len(procs) != 2 || !procs[0].alive() || !procs[1].alive() {
		t.Fatalf("processes are %+v", procs)
	}
	log, err := os.ReadFile(logPath(b.platform.dir("d1"), 2))
	if err != nil || string(log) != "entrypoint of d1 at a:1,b:1\n" {
		t.Errorf("log is %q, %v", log, err)
	}
	// Another runner process knows nothing but the folder.
	b.platform = New(b.platform.config)
	err = b.platform.Destroy(context.Background(), &plugin.DestroyRequest{ID: "d1", Data: made.Data, Output: &b.output})
	if err != nil {
		t.Error(err)
	}
	if procs[0].alive() || procs[1].alive() {
		t.Error("an instance is left")
	}
	if _, err := os.Stat(b.platform.dir("d1")); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
	b.destroy("d1")
}

func TestDestroyFindsWhatAKilledEntrypointLeftRunning(t *testing.T) {
	b := newBench(t)
	b.write("entrypoint", "#!/bin/sh\n\"$@\" &\necho $! >\"$ATTACHED/pid\"\nwait\n")
	if _, err := b.platform.Deploy(context.Background(), b.request("d1", 1, nil)); err != nil {
		t.Fatal(err, b.output.String())
	}
	var pid int
	wait.For(t, 20*time.Second, "the command's pid", func() bool {
		text, err := os.ReadFile(filepath.Join(b.attached, "pid"))
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil
	})
	born, err := startTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	leader := b.record("d1").Processes[0]
	if err := syscall.Kill(leader.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wait.For(t, 20*time.Second, "the entrypoint to end", func() bool { return !leader.alive() })
	app := process{PID: pid, Start: born}
	if !app.alive() {
		t.Fatal("the command has ended by itself")
	}
	b.destroy("d1")
	if app.alive() {
		t.Error("the command is left")
	}
}

func TestDeploymentKeepsItsOwnCopyOfTheArtifact(t *testing.T) {
	b := newBench(t)
	req := b.request("d1", 1, nil)
	var seen string
	inner := req.Body.(body)
	req.Body = body(func(objects map[string]map[string]string) Body {
		seen = objects["artifact"]["path"]
		return inner(objects)
	})
	if _, err := b.platform.Deploy(context.Background(), req); err != nil {
		t.Fatal(err)
	}
	b.write("app", "changed by the next build")
	if text, err := os.ReadFile(seen); err != nil || !strings.HasPrefix(string(text), "#!/bin/sh") {
		t.Errorf("the copy is %q, %v", text, err)
	}
}

func TestInstancesThatDoNotAttachFailTheDeployment(t *testing.T) {
	b := newBench(t)
	b.platform.config.AttachTimeout = 300 * time.Millisecond
	req := b.request("d1", 2, func(d *Body) { d.Env["NO_ATTACH"] = "1" })
	var procs []process
	req.Attached = func(context.Context) (int, error) {
		procs = b.record("d1").Processes
		return 1, nil
	}
	_, err := b.platform.Deploy(context.Background(), req)
	if !errs.Is(err, errs.Deadline) || !strings.Contains(err.Error(), "1 of 2 instances attached after 300ms") {
		t.Errorf("error is %v", err)
	}
	if len(procs) != 2 || procs[0].alive() || procs[1].alive() {
		t.Errorf("an instance is left of %+v", procs)
	}
}

func TestInstanceThatEndsFailsTheDeploymentAtOnce(t *testing.T) {
	b := newBench(t)
	b.write("app", "#!/bin/sh\necho cannot work >&2\nexit 1\n")
	req := b.request("d1", 1, func(d *Body) { d.Env["NO_ATTACH"] = "1" })
	_, err := b.platform.Deploy(context.Background(), req)
	if err == nil || !strings.Contains(err.Error(), "ended before it had reached the cluster") {
		t.Errorf("error is %v", err)
	}
	if !strings.Contains(b.output.String(), "cannot work") {
		t.Errorf("output does not show the instance's last words: %s", b.output.String())
	}
}

func TestCancelledDeploymentLeavesNothing(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(context.Background())
	req := b.request("d1", 1, nil)
	var procs []process
	req.Attached = func(context.Context) (int, error) {
		procs = b.record("d1").Processes
		cancel()
		return 0, nil
	}
	if _, err := b.platform.Deploy(ctx, req); !errs.Is(err, errs.Canceled) {
		t.Errorf("error is %v", err)
	}
	if len(procs) != 1 || procs[0].alive() {
		t.Error("an instance is left")
	}
}

func TestInstanceThatDoesNotEndIsKilledWithItsSession(t *testing.T) {
	b := newBench(t)
	b.platform.config.Grace = 200 * time.Millisecond
	b.write("app", "#!/bin/sh\ntrap '' TERM\nsleep 300 &\necho $! >\"$ATTACHED/../child\"\nwhile :; do sleep 0.05; done\n")
	req := b.request("d1", 1, func(d *Body) { d.Env["ATTACHED"] = filepath.Join(b.attached) })
	child := filepath.Join(b.attached, "..", "child")
	if _, err := b.platform.Deploy(context.Background(), req); err != nil {
		t.Fatal(err)
	}
	wait.For(t, 5*time.Second, "the app to start its child", func() bool {
		text, err := os.ReadFile(child)
		return err == nil && len(text) > 0
	})
	proc := b.record("d1").Processes[0]
	members := sessionMembers(proc.PID)
	if len(members) == 0 {
		t.Fatal("the session has no other members")
	}
	b.destroy("d1")
	if proc.alive() {
		t.Error("the instance is left")
	}
	wait.For(t, 5*time.Second, "the session to end", func() bool {
		for _, m := range members {
			if m.alive() {
				return false
			}
		}
		return true
	})
}

func TestStrangersAreNotTouched(t *testing.T) {
	b := newBench(t)
	self, err := startTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	for name, rec := range map[string]*record{
		"another start time": {Boot: boot, Processes: []process{{PID: os.Getpid(), Start: self + 1}}},
		"another boot":       {Boot: "other", Processes: []process{{PID: os.Getpid(), Start: self}}},
	} {
		dir := b.platform.dir("d1")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := rec.save(dir); err != nil {
			t.Fatal(err)
		}
		b.destroy("d1")
		if b.output.Len() > 0 {
			t.Errorf("%s: %s", name, b.output.String())
		}
	}
}

func TestRunnerThatDiesBeforeTheRecordLeavesNoInstance(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "ran")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	proc, err := os.StartProcess("/bin/sh", []string{"sh", "-c", gate, "sh", "touch", marker},
		&os.ProcAttr{Files: []*os.File{r, nil, nil}, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
	if _, err := proc.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(marker); !os.IsNotExist(err) {
		t.Error("the instance has run")
	}
}

func TestBodiesAreChecked(t *testing.T) {
	b := newBench(t)
	for name, change := range map[string]func(*Body){
		"no instance": func(d *Body) { *d.Instances = 0 },
		"too many":    func(d *Body) { *d.Instances = maxInstances + 1 },
		"unknown log": func(d *Body) { d.Log = "syslog" },
	} {
		if _, err := b.platform.Plan(b.request("", 1, change)); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	req := b.request("", 1, nil)
	req.Artifact = &plugin.Artifact{}
	if _, err := b.platform.Plan(req); !errs.Is(err, errs.Invalid) {
		t.Errorf("nothing to run: %v", err)
	}
	plan, err := b.platform.Plan(b.request("", 3, nil))
	if text, _ := json.Marshal(plan); err != nil || string(text) != `{"Instances":3,"Entrypoint":true,"HostBound":true}` {
		t.Errorf("plan is %s, %v", text, err)
	}
}
