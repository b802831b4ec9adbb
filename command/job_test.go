package command

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/api/projectpb"
	"waypoint/errs"
)

// upJob is a job of "up" in this state with these stages.
func upJob(state jobpb.State, stages ...*jobpb.Stage) *jobpb.Job {
	return &jobpb.Job{Id: idA, State: state, Attempt: 1, Stages: stages,
		Spec:      &jobpb.Spec{Operation: jobpb.Operation_OPERATION_UP, Project: "shop"},
		CreatedAt: ago(5 * time.Second), EndedAt: ago(0)}
}

func stage(name string, state jobpb.StageState, message string) *jobpb.Stage {
	s := &jobpb.Stage{Name: name, App: "web", State: state, Message: message, StartedAt: ago(3 * time.Second)}
	if state != jobpb.StageState_STAGE_STATE_RUNNING {
		s.EndedAt = ago(1800 * time.Millisecond)
	}
	return s
}

const (
	running   = jobpb.StageState_STAGE_STATE_RUNNING
	succeeded = jobpb.StageState_STAGE_STATE_SUCCEEDED
)

// watches makes the cluster answer each call of Watch with the next of these
// streams: messages, and an error at the end where a stream breaks.
func (f *fakeCluster) watches(asked chan<- *jobpb.WatchRequest, streams ...[]any) {
	next := 0
	f.streams[jobs+"Watch"] = func(stream grpc.ServerStream) error {
		request := &jobpb.WatchRequest{}
		if err := stream.RecvMsg(request); err != nil {
			return err
		}
		asked <- request
		now := streams[min(next, len(streams)-1)]
		next++
		for _, step := range now {
			switch step := step.(type) {
			case error:
				return step
			case <-chan struct{}:
				select {
				case <-step:
				case <-stream.Context().Done():
					return stream.Context().Err()
				}
			case proto.Message:
				if err := stream.SendMsg(step); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

func successful() []any {
	return []any{
		&jobpb.WatchResponse{Job: &jobpb.Job{Id: idA, State: jobpb.State_STATE_QUEUED, Waiting: "no runner is free"}},
		&jobpb.WatchResponse{Job: upJob(jobpb.State_STATE_RUNNING, stage("build", running, ""))},
		&jobpb.WatchResponse{Output: []byte("compil"), OutputOffset: 0, Attempt: 1},
		&jobpb.WatchResponse{Heartbeat: true},
		&jobpb.WatchResponse{Output: []byte("ing\n1 %\r100 %\r\n"), OutputOffset: 6, Attempt: 1},
		&jobpb.WatchResponse{Job: upJob(jobpb.State_STATE_SUCCEEDED, stage("build", succeeded, "out/web"), stage("deploy", jobpb.StageState_STAGE_STATE_SKIPPED, ""))},
	}
}

const successfulText = `
waiting: no runner is free
    compiling
    100 %

+ build web      1.2s  out/web
- deploy web  skipped
`

func TestJobWatchShowsPlainLinesWithoutATerminal(t *testing.T) {
	w := newWorld(t)
	asked := make(chan *jobpb.WatchRequest, 9)
	w.cluster.watches(asked, successful())
	w.prints(successfulText, "job", "watch", idA)
}

func TestJobWatchInJSONIsOneObjectPerLine(t *testing.T) {
	w := newWorld(t)
	asked := make(chan *jobpb.WatchRequest, 9)
	w.cluster.watches(asked, successful())
	code, stdout, _ := w.run("job", "watch", idA, "-json")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if code != 0 || len(lines) != 5 {
		t.Errorf("exit code %d, %d lines", code, len(lines))
	}
	for _, line := range lines {
		if !json.Valid([]byte(line)) || strings.HasPrefix(line, "  ") {
			t.Errorf("not one JSON object: %s", line)
		}
	}
}

func TestJobWatchGoesOnWhereABrokenStreamEnded(t *testing.T) {
	w := newWorld(t)
	asked := make(chan *jobpb.WatchRequest, 9)
	w.cluster.watches(asked,
		[]any{&jobpb.WatchResponse{Job: upJob(jobpb.State_STATE_RUNNING, stage("build", running, ""))},
			&jobpb.WatchResponse{Output: []byte("one\ntw"), Attempt: 1}, errs.New(errs.Unavailable, "node lost")},
		// The new home node starts a little earlier than asked.
		[]any{&jobpb.WatchResponse{Output: []byte("two\nthree\n"), OutputOffset: 4, Attempt: 1}},
		[]any{&jobpb.WatchResponse{Job: upJob(jobpb.State_STATE_SUCCEEDED, stage("build", succeeded, ""))}},
	)
	w.prints("\n    one\n    two\n    three\n\n+ build web     1.2s\n", "job", "watch", idA)
	for _, want := range []uint64{0, 6, 14} {
		if got := <-asked; got.GetOutputOffset() != want {
			t.Errorf("asked from %d on, want %d", got.GetOutputOffset(), want)
		}
	}
}

func TestJobThatFailsIsExitCodeOne(t *testing.T) {
	w := newWorld(t)
	asked := make(chan *jobpb.WatchRequest, 9)
	job := upJob(jobpb.State_STATE_FAILED, stage("build", jobpb.StageState_STAGE_STATE_FAILED, "exit status 2"))
	job.Error = "build web: exit status 2"
	w.cluster.watches(asked, []any{&jobpb.WatchResponse{Job: job}})
	w.fails(codeFailed, "up shop: build web: exit status 2 (job "+idA+")", "job", "watch", idA)
	w.cluster.watches(asked, []any{&jobpb.WatchResponse{Job: upJob(jobpb.State_STATE_CANCELED)}})
	w.fails(codeFailed, "was cancelled", "job", "watch", idA)
	w.cluster.watches(asked, []any{errs.New(errs.NotFound, "there is no job X")})
	w.fails(codeFailed, "watch job X: there is no job X", "job", "watch", "X")
}

func TestInterruptedWatchLeavesTheJobRunning(t *testing.T) {
	w := newWorld(t)
	asked := make(chan *jobpb.WatchRequest, 9)
	w.cluster.watches(asked, []any{&jobpb.WatchResponse{Job: upJob(jobpb.State_STATE_RUNNING)}, (<-chan struct{})(make(chan struct{}))})
	go func() {
		<-asked
		w.signals <- syscall.SIGINT
	}()
	w.fails(codeFailed, "interrupted; the job goes on: \"waypoint job watch "+idA+"\"", "job", "watch", idA)
	if w.cluster.called(jobs+"Cancel") != 0 {
		t.Error("the job was cancelled")
	}
}

// ready makes a world in which jobs can be submitted.
func ready(t *testing.T) (*world, chan *jobpb.WatchRequest) {
	t.Helper()
	w := newWorld(t)
	w.project("shop", "web", "worker")
	w.cluster.answer(projects+"ApplyProject", &projectpb.ApplyProjectResponse{})
	w.cluster.answers[jobs+"Submit"] = func(_ context.Context, request proto.Message) (proto.Message, error) {
		return &jobpb.SubmitResponse{Job: &jobpb.Job{Id: request.(*jobpb.SubmitRequest).GetId()}}, nil
	}
	asked := make(chan *jobpb.WatchRequest, 9)
	w.cluster.watches(asked, successful())
	return w, asked
}

func (w *world) spec() *jobpb.Spec {
	w.t.Helper()
	return w.cluster.request(jobs + "Submit").(*jobpb.SubmitRequest).GetSpec()
}

func TestUpWorksWithARunnerOfItsOwn(t *testing.T) {
	w, _ := ready(t)
	r := newFakeRunner()
	cfg := r.with(w)
	w.prints(successfulText+"Done in 5.0s.\n", "up", "-app=web", "-entrypoint=ep")
	<-r.ended
	if !cfg.Local || cfg.Slots != 1 || cfg.EntrypointBinary != w.Dir+"/ep" {
		t.Errorf("the runner is %+v", cfg)
	}
	want := &jobpb.Spec{Operation: jobpb.Operation_OPERATION_UP, Project: "shop", App: "web", Workspace: "default",
		Target: &jobpb.Target{RunnerId: "RUNNER"}, Folder: w.Dir, PruneRetain: 2}
	if got := w.spec(); !proto.Equal(got, want) {
		t.Errorf("submitted %v, want %v", got, want)
	}
	if got := w.cluster.request(projects + "ApplyProject").(*projectpb.ApplyProjectRequest); got.GetName() != "shop" || len(got.GetApps()) != 2 {
		t.Errorf("registered %v", got)
	}
}

func TestRemoteJobsAimAtRunnersOfTheCluster(t *testing.T) {
	w, asked := ready(t)
	code, stdout, _ := w.run("build", "-remote", "-detach", "-host=h", "-runner-label=zone=a", "-runner-label=arch=arm64", "-folder=/src")
	id := w.cluster.request(jobs + "Submit").(*jobpb.SubmitRequest).GetId()
	if code != 0 || stdout != id+"\n" || len(id) != fullID {
		t.Errorf("exit code %d, printed %q, submitted %q", code, stdout, id)
	}
	want := &jobpb.Spec{Operation: jobpb.Operation_OPERATION_BUILD, Project: "shop", Workspace: "default", Folder: "/src",
		Target: &jobpb.Target{Host: "h", Labels: map[string]string{"zone": "a", "arch": "arm64"}}}
	if got := w.spec(); !proto.Equal(got, want) {
		t.Errorf("submitted %v, want %v", got, want)
	}
	if len(asked) != 0 {
		t.Error("a detached job was watched")
	}
	w.prints(successfulText+"Done in 5.0s.\n", "up", "-remote", "-prune-retain=0")
	if got := w.spec(); got.GetFolder() != w.Dir || got.GetPruneRetain() != 0 {
		t.Errorf("submitted %v", got)
	}
	w.fails(codeUsage, "-detach goes with -remote", "up", "-detach")
	w.fails(codeUsage, "they go with -remote", "up", "-host=h")
}

func TestVariablesOfTheProjectFileTravelWithTheJob(t *testing.T) {
	w, _ := ready(t)
	w.file("waypoint.hcl", "project = \"shop\"\nvariable \"tag\" {\n  default = \"\"\n}\nvariable \"size\" {\n  default = \"s\"\n}\napp \"web\" {\n  deploy {\n    use \"noop\" {}\n  }\n}\n")
	w.file("vars.hcl", "size = \"m\"\ntag = \"file\"\n")
	w.run("up", "-remote", "-detach", "-var=tag=v2", "-var-file=vars.hcl")
	got := w.spec().GetVariables()
	if len(got) != 2 || got["tag"] != "v2" || got["size"] != "m" {
		t.Errorf("variables %v", got)
	}
	w.fails(codeFailed, "waypoint.hcl", "up", "-remote", "-var=unknown=1")
}

func TestInterruptCancelsALocalJobOnceAndLeavesTheSecondTime(t *testing.T) {
	w, asked := ready(t)
	newFakeRunner().with(w)
	canceled := make(chan struct{})
	w.cluster.answers[jobs+"Cancel"] = func(context.Context, proto.Message) (proto.Message, error) {
		return &jobpb.CancelResponse{}, nil
	}
	w.Exit = func(code int) {
		w.exited <- code
		close(canceled)
	}
	w.cluster.watches(asked, []any{&jobpb.WatchResponse{Job: upJob(jobpb.State_STATE_RUNNING)}, (<-chan struct{})(canceled),
		&jobpb.WatchResponse{Job: upJob(jobpb.State_STATE_CANCELED)}})
	go func() {
		<-asked
		w.signals <- syscall.SIGINT
		w.signals <- syscall.SIGINT
	}()
	w.fails(codeFailed, "was cancelled", "up")
	if code := <-w.exited; code != codeFailed {
		t.Errorf("the second interrupt left with code %d", code)
	}
	if !strings.Contains(w.out.String(), "cancelling; once more to leave at once") {
		t.Errorf("printed %s", w.out)
	}
}

func TestRunnerThatCannotStartEndsTheCommand(t *testing.T) {
	w, _ := ready(t)
	r := newFakeRunner()
	r.err = errors.New("the token is not a runner's")
	r.with(w)
	w.fails(codeFailed, "start a runner: the token is not a runner's", "up")
	if w.cluster.called(jobs+"Submit") != 0 {
		t.Error("the job was submitted")
	}
}

func TestOperationsNeedAProjectFile(t *testing.T) {
	w := newWorld(t)
	w.fails(codeFailed, "waypoint init", "up")
	w.fails(codeUsage, "is not in this folder", "up", "-p=shop")
	w.project("shop", "web")
	w.fails(codeUsage, `no app "api"`, "up", "-app=api")
}

func TestDeployAndReleaseOfWhatIsNamed(t *testing.T) {
	w, _ := ready(t)
	w.cluster.answer(deployments+"ListDeployments", &deploymentpb.ListDeploymentsResponse{Deployments: []*deploymentpb.Deployment{{Id: idB, App: web(), Sequence: 3}}})
	w.run("deploy", "-remote", "-detach", "-app=web", "-artifact="+idA)
	if got := w.spec(); got.GetArtifactId() != idA || got.GetApp() != "web" {
		t.Errorf("submitted %v", got)
	}
	w.run("release", "-remote", "-detach", "-app=web", "-deployment=v3")
	if got := w.spec(); len(got.GetDeploymentIds()) != 1 || got.GetDeploymentIds()[0] != idB || got.GetPruneRetain() != 2 {
		t.Errorf("submitted %v", got)
	}
	w.fails(codeUsage, "name one of web, worker", "release", "-remote", "-detach", "-deployment=v3")
}

func TestDestroyGoesToTheHostOfEachDeployment(t *testing.T) {
	w, _ := ready(t)
	newFakeRunner().with(w)
	w.cluster.answer(deployments+"ListDeployments", &deploymentpb.ListDeploymentsResponse{Deployments: []*deploymentpb.Deployment{
		{Id: idB, App: web(), Sequence: 3, Host: "elsewhere", Plugin: "local"}, {Id: idA, App: web(), Sequence: 2, Host: "here", Plugin: "local"},
	}})
	var specs []*jobpb.Spec
	submit := w.cluster.answers[jobs+"Submit"]
	w.cluster.answers[jobs+"Submit"] = func(ctx context.Context, request proto.Message) (proto.Message, error) {
		specs = append(specs, proto.CloneOf(request.(*jobpb.SubmitRequest).GetSpec()))
		return submit(ctx, request)
	}
	w.fails(codeUsage, "Destroy 2 deployments of project shop in workspace default (web v3, web v2)?", "destroy")
	if code, _, stderr := w.run("destroy", "-auto-approve"); code != 0 {
		t.Fatal(stderr)
	}
	if len(specs) != 2 {
		t.Fatalf("%d jobs", len(specs))
	}
	for i, want := range []*jobpb.Spec{
		{Target: &jobpb.Target{Host: "elsewhere"}, DeploymentIds: []string{idB}},
		{Target: &jobpb.Target{RunnerId: "RUNNER"}, DeploymentIds: []string{idA}},
	} {
		want.Operation, want.Project, want.Workspace = jobpb.Operation_OPERATION_DESTROY, "shop", "default"
		want.Folder, want.Plugin = w.Dir, "local"
		if !proto.Equal(specs[i], want) {
			t.Errorf("job %d is %v, want %v", i, specs[i], want)
		}
	}
	specs = nil
	w.run("destroy", "-auto-approve", "-deployment=v2")
	if len(specs) != 1 || specs[0].GetDeploymentIds()[0] != idA {
		t.Errorf("of v2: %v", specs)
	}
	w.cluster.answer(deployments+"ListDeployments", &deploymentpb.ListDeploymentsResponse{})
	w.prints("Nothing of shop is deployed in workspace default.\n", "destroy", "-auto-approve")
}
