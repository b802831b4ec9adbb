package job_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/grpc"

	"waypoint/api/authpb"
	"waypoint/api/commandpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/jobpb"
	"waypoint/api/nodepb"
	"waypoint/api/runnerpb"
	"waypoint/errs"
	"waypoint/internal/ids"
	"waypoint/rpc/job"
	"waypoint/rpc/rpctest"
	"waypoint/state"
)

// outputs is the output of one attempt, in pieces; each call gets the pieces
// from an offset on, and a piece that is empty fails the call.
type outputs struct {
	pieces []string
	calls  chan uint64 // offsets asked for
}

func (o *outputs) JobOutput(ctx context.Context, _ *deploymentpb.Fence, offset uint64, send func(*nodepb.JobOutputResponse) error) error {
	o.calls <- offset
	at := uint64(0)
	for len(o.pieces) > 0 {
		piece := o.pieces[0]
		o.pieces = o.pieces[1:]
		if piece == "" {
			return errs.New(errs.Unavailable, "the connection broke")
		}
		if err := send(&nodepb.JobOutputResponse{Offset: offset + at, Data: []byte(piece)}); err != nil {
			return err
		}
		at += uint64(len(piece))
	}
	<-ctx.Done()
	return ctx.Err()
}

type bench struct {
	*rpctest.Fixture
	*testing.T
	outputs *outputs
	server  *rpctest.Server
	client  jobpb.JobServiceClient
}

func newBench(t *testing.T) *bench {
	b := &bench{Fixture: rpctest.New(t), T: t, outputs: &outputs{calls: make(chan uint64, 100)}}
	b.server = b.Serve(job.New(job.Config{
		Applier: b, Reader: b.Reader(), Store: b.Store, NodeID: b.NodeID, Outputs: b.outputs,
		Peer: func(string) (grpc.ClientConnInterface, error) { return nil, errs.New(errs.Unavailable, "no peers") },
		Waiting: func(_ *state.Tx, j *jobpb.Job) string {
			if j.GetState() == jobpb.State_STATE_QUEUED {
				return "for a test"
			}
			return ""
		},
	}))
	b.client = jobpb.NewJobServiceClient(b.server.Dial(b.User))
	return b
}

func noop() *jobpb.Spec { return &jobpb.Spec{Operation: jobpb.Operation_OPERATION_NOOP} }

func (b *bench) submit() string {
	b.Helper()
	answer, err := b.client.Submit(context.Background(), &jobpb.SubmitRequest{Spec: noop()})
	if err != nil {
		b.Fatal(err)
	}
	return answer.GetJob().GetId()
}

// assign gives the job to a runner that is attached to this node.
func (b *bench) assign(id string) *deploymentpb.Fence {
	b.Helper()
	runner := ids.New()
	b.Do(&commandpb.Command_RunnerAttach{RunnerAttach: &commandpb.RunnerAttach{Runner: &runnerpb.Runner{
		Id: runner, Slots: 1, NodeId: b.NodeID, NodeBoot: b.BootID, Generation: 1,
	}}})
	result, err := b.Apply(context.Background(), &commandpb.Command{Term: 1, Kind: &commandpb.Command_JobAssign{
		JobAssign: &commandpb.JobAssign{Id: id, RunnerId: runner},
	}})
	if err != nil {
		b.Fatal(err)
	}
	return &deploymentpb.Fence{JobId: id, Attempt: uint32(result.GetVersion())}
}

func (b *bench) finish(f *deploymentpb.Fence, output string, total uint64) {
	b.Helper()
	pack, err := zstd.NewWriter(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Do(&commandpb.Command_JobFinish{JobFinish: &commandpb.JobFinish{
		Fence: f, State: jobpb.State_STATE_SUCCEEDED, OutputZstd: pack.EncodeAll([]byte(output), nil),
		OutputBytes: total, OutputTruncated: total > uint64(len(output)),
	}})
}

func TestSubmittedJobIsQueuedOnce(t *testing.T) {
	b := newBench(t)
	req := &jobpb.SubmitRequest{Id: ids.New(), Spec: noop()}
	for range 2 {
		answer, err := b.client.Submit(context.Background(), req)
		if err != nil || answer.GetJob().GetState() != jobpb.State_STATE_QUEUED || answer.GetJob().GetWaiting() != "for a test" {
			t.Fatalf("%v, %v", answer, err)
		}
	}
	req.Spec.MaxAttempts = 2
	if _, err := b.client.Submit(context.Background(), req); !errs.Is(errs.FromStatus(err), errs.AlreadyExists) {
		t.Errorf("another job of that id: %v", err)
	}
	list, err := b.client.List(context.Background(), &jobpb.ListRequest{States: []jobpb.State{jobpb.State_STATE_QUEUED}})
	if err != nil || len(list.GetJobs()) != 1 || list.GetJobs()[0].GetWaiting() != "for a test" {
		t.Errorf("%v, %v", list, err)
	}
}

func TestBadSpecsAreRefused(t *testing.T) {
	b := newBench(t)
	for name, spec := range map[string]*jobpb.Spec{
		"nothing":           nil,
		"no operation":      {},
		"unknown operation": {Operation: 99},
		"no project":        {Operation: jobpb.Operation_OPERATION_DESTROY},
		"unknown project":   {Operation: jobpb.Operation_OPERATION_DESTROY, Project: "none"},
		"relative folder":   {Operation: jobpb.Operation_OPERATION_UP, Project: "p", Folder: "here"},
		"no folder":         {Operation: jobpb.Operation_OPERATION_BUILD, Project: "p"},
		"bad app":           {Operation: jobpb.Operation_OPERATION_DESTROY, Project: "p", App: "a b"},
		"too many attempts": {Operation: jobpb.Operation_OPERATION_NOOP, MaxAttempts: 100},
		"too large": {Operation: jobpb.Operation_OPERATION_NOOP,
			Variables: map[string]string{"x": strings.Repeat("x", 100_000)}},
	} {
		_, err := b.client.Submit(context.Background(), &jobpb.SubmitRequest{Spec: spec})
		if kind := errs.KindOf(err); kind != errs.Invalid && kind != errs.NotFound && kind != errs.Exhausted {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := b.client.Submit(context.Background(), &jobpb.SubmitRequest{Id: "x", Spec: noop()}); !errs.Is(err, errs.Invalid) {
		t.Errorf("malformed id: %v", err)
	}
	_, token := b.Token(authpb.TokenKind_TOKEN_KIND_RUNNER, "r")
	runner := jobpb.NewJobServiceClient(b.server.Dial(token))
	if _, err := runner.Submit(context.Background(), &jobpb.SubmitRequest{Spec: noop()}); !errs.Is(err, errs.PermissionDenied) {
		t.Errorf("a runner's job: %v", err)
	}
}

func TestCancelOfAQueuedJobEndsIt(t *testing.T) {
	b := newBench(t)
	id := b.submit()
	answer, err := b.client.Cancel(context.Background(), &jobpb.CancelRequest{Id: id})
	if err != nil || answer.GetJob().GetState() != jobpb.State_STATE_CANCELED {
		t.Errorf("%v, %v", answer, err)
	}
	if _, err := b.client.Cancel(context.Background(), &jobpb.CancelRequest{Id: ids.New()}); !errs.Is(err, errs.NotFound) {
		t.Errorf("a job that is not there: %v", err)
	}
}

// follow watches a job to its end.
func (b *bench) follow(req *jobpb.WatchRequest, each func(*jobpb.WatchResponse)) (text string, last *jobpb.Job) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	stream, err := b.client.Watch(ctx, req)
	if err != nil {
		b.Fatal(err)
	}
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return text, last
		}
		if err != nil {
			b.Fatal(err)
		}
		if answer.GetJob() != nil {
			last = answer.GetJob()
		}
		text += string(answer.GetOutput())
		if each != nil {
			each(answer)
		}
	}
}

func TestWatchShowsEachByteOnceThroughBrokenConnections(t *testing.T) {
	b := newBench(t)
	b.outputs.pieces = []string{"one ", "two ", "", "three "}
	id := b.submit()
	var fence *deploymentpb.Fence
	var seen string
	text, last := b.follow(&jobpb.WatchRequest{Id: id}, func(answer *jobpb.WatchResponse) {
		seen += string(answer.GetOutput())
		if fence == nil {
			if answer.GetJob().GetWaiting() != "for a test" {
				t.Errorf("the first answer is %v", answer)
			}
			fence = b.assign(id)
		}
		if seen == "one two three " && len(answer.GetOutput()) > 0 {
			b.finish(fence, "one two three four", 18)
		}
	})
	if text != "one two three four" || last.GetState() != jobpb.State_STATE_SUCCEEDED {
		t.Errorf("output is %q of %v", text, last)
	}
	if first, second := <-b.outputs.calls, <-b.outputs.calls; first != 0 || second != 8 {
		t.Errorf("read from %d and %d", first, second)
	}
}

func TestWatchOfAnEndedJobResumesWhereTheReaderWas(t *testing.T) {
	b := newBench(t)
	id := b.submit()
	b.finish(b.assign(id), "headtail", 100)
	text, _ := b.follow(&jobpb.WatchRequest{Id: id}, nil)
	if text != "headtail" {
		t.Errorf("output is %q", text)
	}
	var offsets []uint64
	text, _ = b.follow(&jobpb.WatchRequest{Id: id, Attempt: 1, OutputOffset: 2}, func(answer *jobpb.WatchResponse) {
		if len(answer.GetOutput()) > 0 {
			offsets = append(offsets, answer.GetOutputOffset())
		}
	})
	if text != "adtail" || len(offsets) != 2 || offsets[0] != 2 || offsets[1] != 96 {
		t.Errorf("output is %q at %v", text, offsets)
	}
	if text, _ = b.follow(&jobpb.WatchRequest{Id: id, Attempt: 2, OutputOffset: 2}, nil); text != "headtail" {
		t.Errorf("output of the other attempt is %q", text)
	}
}

func TestWatchOfNothingIsNotFound(t *testing.T) {
	b := newBench(t)
	stream, err := b.client.Watch(context.Background(), &jobpb.WatchRequest{Id: "none"})
	if err == nil {
		_, err = stream.Recv()
	}
	if !errs.Is(err, errs.NotFound) {
		t.Errorf("error is %v", err)
	}
}
