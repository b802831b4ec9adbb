package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"waypoint/api/jobpb"
	"waypoint/client"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/test/faults/check"
	"waypoint/test/harness"
)

const (
	jobProject = "jobs"
	runners    = 2
	slots      = 3   // of each runner
	maxOpen    = 8   // jobs that have not ended; more are not submitted meanwhile
	maxJobs    = 800 // of a run: the cluster keeps the newest thousand
	maxRuns    = 20  // attempts at one job
	// jobsEnd bounds the wait for the last jobs: an attempt that nobody hears
	// of costs a lease and its margin, 17 s.
	jobsEnd = 2 * time.Minute
	perLook = time.Second
)

// jobFile is the project file of a job.
const jobFile = `project = "jobs"

app "work" {
  build {
    use "exec" {
      command = ["sh", "work.sh"]
      output  = "ran"
    }
  }
}
`

// jobTrail begins the work of every job: it says who it is, in its output and
// in a file of the job's own.
const jobTrail = `me=$$.$(date +%s%N)
say() { echo "$1 $me $(date +%s%N)" >> ran; }
say begin
echo "process $me"
`

// jobScript is the work of a job: signs of life for a time.
const jobScript = `n=0
while [ $n -lt %d ]; do
	n=$((n+1))
	sleep 0.1
	say work
done
say finish
`

// Jobs submits jobs through all nodes to runners that do work which leaves a
// trail.
type Jobs struct {
	Rate float64 // jobs in a second, at most
	Seed uint64

	cluster *harness.Cluster
	history *recorder[check.JobEvent]
	runners []*runnerProcess

	mu   sync.Mutex
	jobs map[string]*jobRecord
}

// jobRecord is a submitted job and the newest that was read of it.
type jobRecord struct {
	folder string
	newest check.JobEvent
}

var _ Workload = (*Jobs)(nil)

// NewJobs returns the workload.
func NewJobs(c *harness.Cluster) *Jobs {
	return &Jobs{Rate: 2, Seed: 1, cluster: c, history: newRecorder[check.JobEvent](), jobs: map[string]*jobRecord{}}
}

// Name is "jobs".
func (j *Jobs) Name() string { return "jobs" }

// Prepare makes the project and starts the runners.
func (j *Jobs) Prepare(ctx context.Context) error {
	if err := makeProject(ctx, j.cluster, jobProject, "work"); err != nil {
		return err
	}
	for range runners {
		if _, err := j.startRunner(ctx); err != nil {
			return err
		}
	}
	return nil
}

// runnerProcess is a running "waypoint runner agent".
type runnerProcess struct {
	log    string
	cmd    *exec.Cmd
	cancel context.CancelFunc
	ended  chan struct{}
}

// startRunner starts one more runner, with more flags.
func (j *Jobs) startRunner(ctx context.Context, flags ...string) (*runnerProcess, error) {
	name := fmt.Sprintf("runner%d", len(j.runners))
	r := &runnerProcess{log: filepath.Join(j.cluster.Dir, name+".log"), ended: make(chan struct{})}
	log, err := os.Create(r.log)
	if err != nil {
		return nil, err
	}
	ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	r.cmd = j.cluster.Command(ctx, append([]string{"runner", "agent", "-name=" + name, fmt.Sprintf("-slots=%d", slots)}, flags...)...)
	r.cmd.Stdout, r.cmd.Stderr = log, log
	if err := r.cmd.Start(); err != nil {
		r.cancel()
		return nil, errors.Join(err, log.Close())
	}
	go func() {
		defer close(r.ended)
		defer log.Close()
		_ = r.cmd.Wait() // an early end shows as the closed channel
	}()
	j.runners = append(j.runners, r)
	return r, nil
}

// stop ends the runner, and says whether it had ended before.
func (r *runnerProcess) stop() (early bool) {
	select {
	case <-r.ended:
		early = true
	default:
	}
	r.cancel()
	<-r.ended
	return early
}

// Run submits jobs and reads their records until ctx ends.
func (j *Jobs) Run(ctx context.Context) error {
	var tasks sync.WaitGroup
	conns := make([]*client.Client, len(j.cluster.Nodes))
	for n := range conns {
		var err error
		if conns[n], err = j.cluster.Dial(n); err != nil {
			return err
		}
		defer conns[n].Close()
	}
	watcher, err := j.cluster.Dial(0)
	if err != nil {
		return err
	}
	defer watcher.Close()
	tasks.Go(func() { each(ctx, float64(time.Second/perLook), func(ctx context.Context) { j.look(ctx, watcher) }) })
	random := rand.New(rand.NewPCG(j.Seed, 0))
	count := 0
	var failed error
	each(ctx, j.Rate, func(ctx context.Context) {
		if failed == nil && j.open() < maxOpen && count < maxJobs {
			failed = j.submit(ctx, conns[count%len(conns)], fmt.Sprintf(jobScript, 1+random.IntN(30)))
			count++
		}
	})
	tasks.Wait()
	return failed
}

// open is how many jobs are not known to have ended.
func (j *Jobs) open() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for _, job := range j.jobs {
		if job.newest.EndedAt == "" {
			n++
		}
	}
	return n
}

// submit asks for a job whose work is a shell script.
func (j *Jobs) submit(ctx context.Context, conn *client.Client, script string) error {
	id := ids.New()
	folder := filepath.Join(j.cluster.Dir, "jobs", id)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"waypoint.hcl": jobFile, "work.sh": jobTrail + script} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	_, err := jobpb.NewJobServiceClient(conn.Conn()).Submit(ctx, &jobpb.SubmitRequest{Id: id, Spec: &jobpb.Spec{
		Operation: jobpb.Operation_OPERATION_BUILD, Project: jobProject, App: "work", Workspace: "default",
		Folder: folder, MaxAttempts: maxRuns,
	}})
	submitted := check.JobEvent{Job: id, At: j.history.now(), Kind: check.Submitted, Outcome: outcome(err), Text: text(err)}
	j.history.add(submitted)
	record := &jobRecord{folder: folder}
	if submitted.Outcome != check.OK {
		record.newest.EndedAt = "perhaps never" // it does not count as open
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.jobs[id] = record
	return nil
}

// look reads the records of all jobs and keeps what has changed.
func (j *Jobs) look(ctx context.Context, conn *client.Client) {
	reply, err := jobpb.NewJobServiceClient(conn.Conn()).List(ctx, &jobpb.ListRequest{Project: jobProject, Limit: maxJobs})
	if err != nil {
		return
	}
	for _, row := range reply.GetJobs() {
		j.observe(row)
	}
}

func (j *Jobs) observe(row *jobpb.Job) {
	seen := check.JobEvent{Job: row.GetId(), Kind: check.Observed, Attempt: row.GetAttempt(), Text: row.GetError(),
		State: strings.ToLower(strings.TrimPrefix(row.GetState().String(), "STATE_"))}
	if row.GetEndedAt() != nil {
		seen.EndedAt = row.GetEndedAt().AsTime().Format(time.RFC3339Nano)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	record := j.jobs[row.GetId()]
	if record == nil || record.newest == seen {
		return // one whose submit has not come back yet is read again
	}
	record.newest = seen
	seen.At = j.history.now()
	j.history.add(seen)
}

// Check waits for the end of the jobs, reads everything that there is about
// them, stops the runners and judges.
func (j *Jobs) Check(ctx context.Context) *check.Verdict {
	err := j.settle(ctx)
	var early []string
	for _, r := range j.runners {
		if r.stop() {
			early = append(early, r.log)
		}
	}
	for id, record := range j.jobs {
		err = errors.Join(err, j.trail(id, record.folder))
	}
	v := check.Jobs(j.history.all())
	if err != nil {
		v.Violated("not everything is known: %v", err)
	}
	for _, log := range early {
		v.Violated("a runner ended by itself, see %s", log)
	}
	return v
}

// settle waits until every job that is there has ended, and reads whose output
// each has kept.
func (j *Jobs) settle(ctx context.Context) error {
	conn, err := j.cluster.Dial(0)
	if err != nil {
		return err
	}
	defer conn.Close()
	// What has not ended by then is seen by the checker.
	_ = harness.Until(ctx, jobsEnd, func() error {
		j.look(ctx, conn)
		if n := j.open(); n > 0 {
			return fmt.Errorf("%d jobs have not ended", n)
		}
		return nil
	})
	for id := range j.jobs {
		err = errors.Join(err, j.output(ctx, conn, id))
	}
	return err
}

// output reads a job's record once more, and which process its output is of.
func (j *Jobs) output(ctx context.Context, conn *client.Client, id string) error {
	ctx, cancel := context.WithTimeout(ctx, opLimit)
	defer cancel()
	api := jobpb.NewJobServiceClient(conn.Conn())
	reply, err := api.Get(ctx, &jobpb.GetRequest{Id: id})
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	j.observe(reply.GetJob())
	if reply.GetJob().GetEndedAt() == nil {
		return nil
	}
	stream, err := api.Watch(ctx, &jobpb.WatchRequest{Id: id, Attempt: reply.GetJob().GetAttempt()})
	if err != nil {
		return err
	}
	var all strings.Builder
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		all.Write(part.GetOutput())
	}
	for line := range strings.Lines(all.String()) {
		if process, ok := strings.CutPrefix(strings.TrimSpace(line), "process "); ok {
			j.history.add(check.JobEvent{Job: id, At: j.history.now(), Kind: check.Completed, Process: process})
		}
	}
	return nil
}

// trail reads what the processes of a job wrote down. Their times are those of
// the machine's clock, which becomes that of the history.
func (j *Jobs) trail(id, folder string) error {
	text, err := os.ReadFile(filepath.Join(folder, "ran"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return fmt.Errorf("job %s left a line %q", id, line)
		}
		at, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return err
		}
		j.history.add(check.JobEvent{Job: id, At: at - j.history.began.UnixNano(), Kind: fields[0], Process: fields[1]})
	}
	return nil
}
