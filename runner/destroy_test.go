package runner_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/internal/wait"
	"waypoint/plugin"
	"waypoint/runner"
)

// platform is a platform bound to its host that remembers what it runs.
type platform struct {
	mu   sync.Mutex
	runs map[string]bool
	fail error // of Deploy
}

func (p *platform) Plan(*plugin.DeployRequest) (*plugin.Plan, error) {
	return &plugin.Plan{Instances: 1, HostBound: true}, nil
}

func (p *platform) Deploy(_ context.Context, req *plugin.DeployRequest) (*plugin.Deployed, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail != nil {
		return nil, p.fail
	}
	p.runs[req.ID] = true
	return &plugin.Deployed{Data: []byte("data of " + req.ID)}, nil
}

func (p *platform) Destroy(_ context.Context, req *plugin.DestroyRequest) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runs[req.ID] && string(req.Data) != "data of "+req.ID {
		return errors.New("the deployment's data is lost")
	}
	delete(p.runs, req.ID)
	return nil
}

func (p *platform) running() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.runs)
}

func (p *platform) on(host string) func(*runner.Config) {
	return func(c *runner.Config) {
		c.Host = host
		c.Plugins.Platforms["test"] = p
	}
}

const deployApp = `
  deploy {
    use "test" {}
  }
`

func newPlatform() *platform { return &platform{runs: map[string]bool{}} }

func (b *bench) up(retain uint32) *jobpb.Job {
	b.Helper()
	spec := b.spec(jobpb.Operation_OPERATION_UP)
	spec.PruneRetain = retain
	return b.ended(b.submit(spec), jobpb.State_STATE_SUCCEEDED)
}

func TestReleaseKeepsTheNewestDeployments(t *testing.T) {
	b := newBench(t, 15*time.Second, 1)
	b.project(deployApp)
	p := newPlatform()
	b.start(p.on("a"))
	for range 3 {
		b.up(2)
	}
	left := b.deployments()
	if len(left) != 2 || left[0].GetSequence() != 3 || left[1].GetSequence() != 2 || p.running() != 2 {
		t.Errorf("deployments are %v, %d run", left, p.running())
	}
	b.up(0)
	if left = b.deployments(); len(left) != 3 {
		t.Errorf("deployments are %v, all are to be kept", left)
	}
	// What was released before is kept when users go back to it.
	spec := b.spec(jobpb.Operation_OPERATION_RELEASE)
	spec.PruneRetain, spec.DeploymentIds = 2, []string{left[2].GetId()}
	b.ended(b.submit(spec), jobpb.State_STATE_SUCCEEDED)
	if left = b.deployments(); len(left) != 2 || left[0].GetSequence() != 4 || left[1].GetSequence() != 2 {
		t.Errorf("deployments are %v", left)
	}
}

// releaser is a releaser that does as a test says.
type releaser func(sequence uint64)

func (f releaser) Release(_ context.Context, req *plugin.ReleaseRequest) (*plugin.Released, error) {
	f(req.Sequence)
	return &plugin.Released{}, nil
}

func TestPruneSparesWhatAnotherJobHasReleased(t *testing.T) {
	b := newBench(t, 15*time.Second, 1)
	b.project(deployApp + "\n  release {\n    use \"test\" {}\n  }")
	p := newPlatform()
	begun, goOn := make(chan struct{}), make(chan struct{})
	b.start(func(c *runner.Config) {
		p.on("a")(c)
		c.Slots = 2
		c.Plugins.Releasers["test"] = releaser(func(sequence uint64) {
			if sequence == 1 {
				close(begun)
				<-goOn
			}
		})
	})
	spec := b.spec(jobpb.Operation_OPERATION_UP)
	spec.PruneRetain = 1
	slow := b.submit(spec)
	receive(t, begun)
	b.up(1) // spares what is about to be released
	if p.running() != 2 {
		t.Errorf("%d run while the first is being released", p.running())
	}
	close(goOn)
	b.ended(slow, jobpb.State_STATE_SUCCEEDED)
	current := b.Store.Read().CurrentRelease(&deploymentpb.AppRef{Project: "shop", App: "web", Workspace: "default"})
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runs[current.GetDeploymentId()] {
		t.Errorf("v%d is released and does not run", current.GetDeploymentSequence())
	}
}

func TestPruneLeftToAnotherHostSparesWhatCameIntoUse(t *testing.T) {
	b := newBench(t, 15*time.Second, 1)
	b.project(deployApp)
	onA, onB := newPlatform(), newPlatform()
	_, stopA := b.start(onA.on("a"))
	b.up(0)
	stopA()
	b.start(onB.on("b"))
	first := b.deployments()[0]
	b.up(1)
	spec := b.spec(jobpb.Operation_OPERATION_RELEASE)
	spec.DeploymentIds = []string{first.GetId()}
	b.ended(b.submit(spec), jobpb.State_STATE_SUCCEEDED)
	queued := b.Store.Read().Jobs(stateQueued())
	b.start(onA.on("a"))
	b.ended(queued[0].GetId(), jobpb.State_STATE_SUCCEEDED)
	if onA.running() != 1 {
		t.Error("what is released was destroyed")
	}
}

func TestFailedDeploymentIsRecordedAndPrunedLater(t *testing.T) {
	b := newBench(t, 15*time.Second, 1)
	b.project(deployApp)
	p := newPlatform()
	b.start(p.on("a"))
	p.fail = errors.New("no room")
	job := b.ended(b.submit(b.spec(jobpb.Operation_OPERATION_UP)), jobpb.State_STATE_FAILED)
	if job.GetError() != "deploy web: no room" {
		t.Errorf("error is %q", job.GetError())
	}
	if left := b.deployments(); len(left) != 1 || left[0].GetStatus() != deploymentpb.Status_STATUS_FAILED {
		t.Errorf("deployments are %v", left)
	}
	p.fail = nil
	b.up(2)
	if left := b.deployments(); len(left) != 1 || left[0].GetSequence() != 2 {
		t.Errorf("deployments are %v", left)
	}
}

func TestDestroyNeedsNoProjectFile(t *testing.T) {
	b := newBench(t, 15*time.Second, 1)
	b.project(deployApp)
	p := newPlatform()
	b.start(p.on("a"))
	b.up(0)
	b.up(0)
	spec := b.spec(jobpb.Operation_OPERATION_DESTROY)
	spec.Folder = ""
	job := b.ended(b.submit(spec), jobpb.State_STATE_SUCCEEDED)
	if len(b.deployments()) != 0 || p.running() != 0 {
		t.Errorf("left are %v, %d run", b.deployments(), p.running())
	}
	if got := job.GetStages()[0].GetMessage(); got != "2 destroyed" {
		t.Errorf("stage says %q", got)
	}
}

func TestDeploymentsOfAnotherHostAreLeftToItsRunner(t *testing.T) {
	b := newBench(t, 15*time.Second, 1)
	b.project(deployApp)
	onA, onB := newPlatform(), newPlatform()
	_, stopA := b.start(onA.on("a"))
	b.up(0)
	stopA()
	b.start(onB.on("b"))
	b.up(1)
	b.up(1)
	queued := b.Store.Read().Jobs(stateQueued())
	if len(queued) != 1 || queued[0].GetSpec().GetTarget().GetHost() != "a" || len(queued[0].GetSpec().GetDeploymentIds()) != 1 {
		t.Fatalf("queued are %v", queued)
	}
	if left := b.deployments(); len(left) != 2 || onA.running() != 1 || onB.running() != 1 {
		t.Errorf("deployments are %v", left)
	}
	b.start(onA.on("a"))
	b.ended(queued[0].GetId(), jobpb.State_STATE_SUCCEEDED)
	wait.For(t, patience, "host a to be empty", func() bool { return onA.running() == 0 })
	if left := b.deployments(); len(left) != 1 || left[0].GetHost() != "b" {
		t.Errorf("deployments are %v", left)
	}
}

func TestArtifactOfAnotherHostIsRefused(t *testing.T) {
	b := newBench(t, 15*time.Second, 1)
	b.project(wholeApp)
	_, stop := b.start(nil)
	b.ended(b.submit(b.spec(jobpb.Operation_OPERATION_BUILD)), jobpb.State_STATE_SUCCEEDED)
	stop()
	b.start(func(c *runner.Config) { c.Host = "elsewhere" })
	job := b.ended(b.submit(b.spec(jobpb.Operation_OPERATION_DEPLOY)), jobpb.State_STATE_FAILED)
	if !strings.Contains(job.GetError(), "exists on host here only, this is elsewhere") {
		t.Errorf("error is %q", job.GetError())
	}
}

func TestProjectFileFaultsFailTheJobWithTheirPlace(t *testing.T) {
	b := newBench(t, 15*time.Second, 1)
	b.project("  deploy {\n    use \"nowhere\" {}\n  }")
	b.start(nil)
	job := b.ended(b.submit(b.spec(jobpb.Operation_OPERATION_UP)), jobpb.State_STATE_FAILED)
	if !strings.Contains(job.GetError(), `waypoint.hcl:4,19: there is no platform named "nowhere"; this runner has: noop`) {
		t.Errorf("error is %q", job.GetError())
	}
}
