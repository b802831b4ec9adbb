package command

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"waypoint/api/deploymentpb"
	"waypoint/api/logspb"
	"waypoint/errs"
)

const logsStream = "waypoint.logs.Logs/Stream"

// open is a stream that goes on until the client ends it.
type open struct{}

// tells makes each call of Stream send the next of these.
func (f *fakeCluster) tells(asked chan<- *logspb.StreamRequest, streams ...[]any) {
	next := 0
	f.streams[logsStream] = func(stream grpc.ServerStream) error {
		request := &logspb.StreamRequest{}
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
			case open:
				<-stream.Context().Done()
				return stream.Context().Err()
			case proto.Message:
				if err := stream.SendMsg(step); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

func line(seq uint64, text string) *logspb.Line {
	return &logspb.Line{Seq: seq, Time: int64(seq) * 1e9, Source: logspb.Source_SOURCE_STDOUT, Data: []byte(text)}
}

func batch(id string, lines ...*logspb.Line) *logspb.StreamResponse {
	return &logspb.StreamResponse{Batches: []*logspb.Batch{{InstanceId: id, Lines: lines}}}
}

func logsWorld(t *testing.T) (*world, chan *logspb.StreamRequest) {
	t.Helper()
	w := newWorld(t)
	w.project("shop", "web")
	return w, make(chan *logspb.StreamRequest, 9)
}

func TestLogsHaveAPrefixPerInstance(t *testing.T) {
	w, asked := logsWorld(t)
	entry := line(2, "started again")
	entry.Source = logspb.Source_SOURCE_ENTRYPOINT
	w.cluster.tells(asked, []any{
		&logspb.StreamResponse{Notice: "waiting for instances"},
		batch(idA, line(1, "hello"), entry), batch(idB, line(1, "there")),
		&logspb.StreamResponse{Heartbeat: true},
		&logspb.StreamResponse{Batches: []*logspb.Batch{{InstanceId: idB, Gap: &logspb.Gap{Lines: 120, Bytes: 8 << 10, Reason: "ring overwritten"}, Lines: []*logspb.Line{line(122, "later")}}}},
	})
	w.prints("\n00000A | hello\n00000A * started again\n00000B | there\n00000B | later\n", "logs", "-n=10")
	if want := "--- waiting for instances ---\n00000B | --- 120 lines (8 KiB) lost: ring overwritten ---\n"; w.err.String() != want {
		t.Errorf("standard error:\n%s\nwant:\n%s", w.err, want)
	}
	want := &logspb.StreamRequest{App: &deploymentpb.AppRef{Project: "shop", Workspace: "default"}, Tail: 10}
	if got := <-asked; !proto.Equal(got, want) {
		t.Errorf("asked for %v, want %v", got, want)
	}
	w.prints("\n1970-01-01T00:00:01.000Z 00000A | hello\n1970-01-01T00:00:02.000Z 00000A * started again\n1970-01-01T00:00:01.000Z 00000B | there\n1970-01-01T00:02:02.000Z 00000B | later\n", "logs", "-t")
}

func TestPartialLinesAreJoinedUnlessAnotherInstanceSpeaks(t *testing.T) {
	w, asked := logsWorld(t)
	partial := func(seq uint64, text string) *logspb.Line {
		l := line(seq, text)
		l.Partial = true
		return l
	}
	w.cluster.tells(asked, []any{batch(idA, partial(1, "one, "), line(2, "two"), partial(3, "three")), batch(idB, line(1, "x")), batch(idA, partial(4, "end"))})
	w.prints("\n00000A | one, two\n00000A | three\n00000B | x\n00000A | end\n", "logs")
}

func TestLogsGoOnThroughAnotherNodeWithoutDuplicates(t *testing.T) {
	w, asked := logsWorld(t)
	w.cluster.tells(asked,
		[]any{batch(idA, line(1, "one"), line(2, "two")), errs.New(errs.Unavailable, "node lost")},
		[]any{errs.New(errs.Unavailable, "no leader yet")},
		[]any{batch(idA, line(2, "two"), line(3, "three")), batch(idB, line(1, "new"))},
	)
	w.prints("\n00000A | one\n00000A | two\n00000A | three\n00000B | new\n", "logs")
	if want := "--- the connection to 10.0.0.1:9701 is lost; going on through another server ---\n"; w.err.String() != want {
		t.Errorf("standard error: %s", w.err)
	}
	<-asked
	for range 2 {
		if got := (<-asked).GetAfter(); len(got) != 1 || got[idA] != 2 {
			t.Errorf("asked to go on after %v", got)
		}
	}
}

func TestLogsInJSONCarryEachLineOnce(t *testing.T) {
	w, asked := logsWorld(t)
	w.cluster.tells(asked,
		[]any{batch(idA, line(1, "one")), &logspb.StreamResponse{Heartbeat: true}, errs.New(errs.Unavailable, "node lost")},
		[]any{batch(idA, line(1, "one"), line(2, "two"))},
	)
	_, stdout, _ := w.run("logs", "-json")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d objects: %s", len(lines), stdout)
	}
	for i, text := range lines {
		var got struct {
			Batches []struct {
				Gap   any
				Lines []struct{ Seq string }
			}
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil || len(got.Batches) != 1 || len(got.Batches[0].Lines) != 1 || got.Batches[0].Gap != nil {
			t.Errorf("object %d (%v): %s", i, err, text)
		}
	}
}

func TestFollowingEndsWellWithAnInterrupt(t *testing.T) {
	w, asked := logsWorld(t)
	w.out.wrote = make(chan struct{}, 9)
	w.cluster.tells(asked, []any{batch(idA, line(1, "one")), open{}})
	go func() {
		<-w.out.wrote
		w.signals <- syscall.SIGINT
	}()
	w.prints("00000A | one\n", "logs", "-f")
	if got := <-asked; !got.GetFollow() {
		t.Errorf("asked for %v", got)
	}
}

func TestLogsOfAnInstanceByTheEndOfItsID(t *testing.T) {
	w, asked := logsWorld(t)
	w.cluster.answer(deployments+"ListInstances", &deploymentpb.ListInstancesResponse{Instances: []*deploymentpb.Instance{{Id: idA}, {Id: idB}}})
	w.cluster.tells(asked, []any{batch(idA, line(1, "one"))})
	w.run("logs", "-instance=00000a")
	if got := <-asked; got.GetInstanceId() != idA {
		t.Errorf("asked for %v", got)
	}
	w.fails(codeFailed, "no instance of shop has an id that ends with ZZ", "logs", "-instance=zz")
}

func TestLogsThatCannotBeReadAtAllFail(t *testing.T) {
	w, asked := logsWorld(t)
	w.cluster.tells(asked, []any{errs.New(errs.Unavailable, "a:9701: refused; b:9701: refused")})
	w.fails(codeFailed, "read logs: a:9701: refused", "logs", "-f")
	w.cluster.tells(asked, []any{errs.New(errs.NotFound, "there is no app shop/web")})
	w.fails(codeFailed, "there is no app", "logs")
}
