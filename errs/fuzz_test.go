package errs_test

import (
	"testing"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"waypoint/api/errpb"
	"waypoint/errs"
)

// Whatever status a peer sends: it becomes an error of a known kind, and sent on
// it stays of that kind.
func FuzzFromStatus(f *testing.F) {
	add := func(err error) {
		data, marshalErr := proto.Marshal(grpcstatus.Convert(errs.ToStatus(err)).Proto())
		if marshalErr != nil {
			f.Fatal(marshalErr)
		}
		f.Add(data)
	}
	for kind := range errpb.Kind_name {
		add(errs.New(errs.Kind(kind), "text"))
	}
	add(&errs.Error{Kind: errs.Protocol, Message: "old", Mismatch: &errpb.ProtocolMismatch{Protocol: "api", ServerMin: 3, Upgrade: "client"}})
	add(&errs.Error{Kind: errs.Internal, Message: "broken", ID: "01ID"})
	detail := func(any *anypb.Any) {
		data, err := proto.Marshal(&status.Status{Code: 77, Message: "odd", Details: []*anypb.Any{any, any}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	detail(&anypb.Any{TypeUrl: "type.googleapis.com/waypoint.err.Error", Value: []byte{0xff}})
	detail(&anypb.Any{TypeUrl: "/", Value: []byte{8, 200, 1}})
	f.Fuzz(func(t *testing.T, data []byte) {
		p := &status.Status{}
		if proto.Unmarshal(data, p) != nil || codes.Code(p.GetCode()) == codes.OK {
			t.Skip("no failure")
		}
		err := errs.FromStatus(grpcstatus.ErrorProto(p))
		kind := errs.KindOf(err)
		if _, known := errpb.Kind_name[int32(kind)]; !known || kind == errpb.Kind_KIND_UNSPECIFIED {
			t.Fatalf("%v is of kind %v", p, kind)
		}
		again := errs.FromStatus(errs.ToStatus(err))
		if errs.KindOf(again) != kind || again.Error() != err.Error() {
			t.Fatalf("%v became %v", err, again)
		}
	})
}
