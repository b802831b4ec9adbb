package rpctest

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"waypoint/api/policypb"
	"waypoint/errs"
	"waypoint/rpc/policy"
)

// accessWait bounds one call of Access.
const accessWait = 20 * time.Second

// Caller is one way to call a server, for Access.
type Caller struct {
	Name string
	Conn grpc.ClientConnInterface
	// Kind is what the credentials prove. CALLER_ANONYMOUS: none were sent.
	// CALLER_UNSPECIFIED: they prove nothing (revoked, expired, foreign).
	Kind policypb.Caller
}

// Methods returns the full names of a server's methods, sorted.
func Methods(services map[string]grpc.ServiceInfo) []string {
	var list []string
	for service, info := range services {
		for _, method := range info.Methods {
			list = append(list, "/"+service+"/"+method.Name)
		}
	}
	slices.Sort(list)
	return list
}

// Access calls each method as each caller, with an empty message, and fails the
// test wherever the server lets in whom the method's policy does not name or
// keeps out whom it does. It works on any server, also one with no real state.
func Access(t *testing.T, methods []string, callers []Caller) {
	t.Helper()
	table, err := policy.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range methods {
		rule := table.Lookup(method)
		if rule == nil {
			t.Errorf("%s: no policy", method)
			continue
		}
		for _, caller := range callers {
			want := expected(rule, caller.Kind)
			err := Call(t.Context(), caller.Conn, method)
			if got := refusal(err); got != want {
				t.Errorf("%s as %s: refused as %v, want %v (0: admitted); error: %v", method, caller.Name, got, want, err)
			}
		}
	}
}

// expected is the kind of refusal that a caller must get, 0 for none.
func expected(rule *policypb.Policy, caller policypb.Caller) errs.Kind {
	switch {
	case policy.Admits(rule, caller):
		return 0
	case caller == policypb.Caller_CALLER_UNSPECIFIED, caller == policypb.Caller_CALLER_ANONYMOUS:
		return errs.Unauthenticated
	}
	return errs.PermissionDenied
}

// refusal is the kind of an error that says who may not call, 0 for any other.
func refusal(err error) errs.Kind {
	switch kind := errs.KindOf(err); kind {
	case errs.Unauthenticated, errs.PermissionDenied:
		return kind
	}
	return 0
}

// Call calls a method of any shape with one empty message and returns the error
// of the first answer; nil for an answer or an orderly end.
func Call(ctx context.Context, conn grpc.ClientConnInterface, method string) error {
	ctx, cancel := context.WithTimeout(ctx, accessWait)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	// A refused stream may end before the message is out; Recv tells why.
	if err := stream.SendMsg(&emptypb.Empty{}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if err := stream.RecvMsg(&emptypb.Empty{}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// Own keeps the methods of this project.
func Own(methods []string) []string {
	return slices.DeleteFunc(slices.Clone(methods), func(m string) bool { return !strings.HasPrefix(m, "/waypoint.") })
}
