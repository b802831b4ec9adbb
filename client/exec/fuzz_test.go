package exec

import (
	"bytes"
	"io"
	"testing"

	"google.golang.org/grpc"

	"waypoint/api/execpb"
	"waypoint/internal/protofuzz"
)

// frames is a stream that has a few messages left.
type frames struct {
	grpc.ClientStream
	left []*execpb.Output
}

func (f *frames) Recv() (*execpb.Output, error) {
	if len(f.left) == 0 {
		return nil, io.EOF
	}
	next := f.left[0]
	f.left = f.left[1:]
	return next, nil
}

func (f *frames) Send(*execpb.Input) error { return nil }

// talking is a session with ten bytes of input and a stream.
func talking(outs ...*execpb.Output) (*session, *link) {
	s := newSession(nil, Config{Open: &execpb.Open{InstanceId: "i1", Argv: []string{"cat"}, Stdin: true}})
	s.input.Write([]byte("0123456789"))
	l := &link{raw: &frames{left: outs}, cancel: func() {}}
	s.link = l
	return s, l
}

func TestAnAckOfInputThatWasNotSentIsBelieved(t *testing.T) {
	s, l := talking(
		&execpb.Output{Kind: &execpb.Output_Opened{Opened: &execpb.Opened{Resumable: true}}},
		&execpb.Output{Kind: &execpb.Output_StdinAck{StdinAck: 7}},
	)
	_ = s.receive(l)
	in := s.pending(l)
	if in.GetOffset() != 7 || string(in.GetStdin()) != "789" {
		t.Errorf("%v is sent", in)
	}
	if in := s.pending(l); in != nil {
		t.Errorf("%v is sent when nothing is left", in)
	}
}

// Whatever the other side sends, and in whatever order: what is sent to it stays
// a piece of the input, and comes to an end.
func FuzzOutputs(f *testing.F) {
	for kind := range 6 {
		f.Add(bytes.Repeat([]byte{byte(kind), 1, 2, 3}, 12))
		f.Add(append([]byte{0, 1, 1, 0, 1, 0, 1, 1, 1}, bytes.Repeat([]byte{byte(kind), 1, 7}, 9)...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		source := protofuzz.New(data, "a", "output")
		outs := []*execpb.Output{}
		if source.Intn(4) != 0 {
			outs = append(outs, &execpb.Output{Kind: &execpb.Output_Opened{Opened: &execpb.Opened{Resumable: source.Intn(2) == 0}}})
		}
		for len(outs) < 20 && !source.Empty() {
			out := &execpb.Output{}
			source.Fill(out)
			outs = append(outs, out)
		}
		s, l := talking()
		s.cfg.Size = func() *execpb.WindowSize { return &execpb.WindowSize{} }
		for _, out := range outs {
			l.raw = &frames{left: []*execpb.Output{out}}
			if s.receive(l) == nil {
				t.Fatal("a stream without an exit code has ended well")
			}
			for sent := 0; !l.closed; sent++ {
				in := s.pending(l)
				if in == nil {
					break
				}
				if sent > 100 {
					t.Fatalf("it goes on sending %v", in)
				}
				if in.GetKind() == nil {
					t.Fatal("an empty message is sent")
				}
				if data, ok := in.GetKind().(*execpb.Input_Stdin); ok {
					from, to := in.GetOffset(), in.GetOffset()+uint64(len(data.Stdin))
					if to > 10 || string(data.Stdin) != "0123456789"[from:to] || from == to {
						t.Fatalf("%q is sent as the input from %d on", data.Stdin, from)
					}
				}
			}
		}
	})
}
