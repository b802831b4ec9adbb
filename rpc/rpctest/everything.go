package rpctest

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Everything is a Service with every method of every service of this project
// that is linked into the program. Each answers with an empty message, so that
// what stands before handlers can be tested for all of them.
type Everything struct{}

// Register adds all services to a server.
func (Everything) Register(r grpc.ServiceRegistrar) {
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package()), "waypoint.") {
			return true
		}
		for i := range file.Services().Len() {
			r.RegisterService(describe(file.Services().Get(i)), struct{}{})
		}
		return true
	})
}

func describe(service protoreflect.ServiceDescriptor) *grpc.ServiceDesc {
	desc := &grpc.ServiceDesc{ServiceName: string(service.FullName()), HandlerType: (*any)(nil), Metadata: service.ParentFile().Path()}
	for i := range service.Methods().Len() {
		method := service.Methods().Get(i)
		if method.IsStreamingClient() || method.IsStreamingServer() {
			desc.Streams = append(desc.Streams, grpc.StreamDesc{
				StreamName: string(method.Name()), Handler: answerStream,
				ServerStreams: method.IsStreamingServer(), ClientStreams: method.IsStreamingClient(),
			})
			continue
		}
		desc.Methods = append(desc.Methods, grpc.MethodDesc{
			MethodName: string(method.Name()),
			Handler:    answerUnary("/" + string(service.FullName()) + "/" + string(method.Name())),
		})
	}
	return desc
}

func answerStream(_ any, ss grpc.ServerStream) error {
	if err := ss.RecvMsg(&emptypb.Empty{}); err != nil {
		return err
	}
	return ss.SendMsg(&emptypb.Empty{})
}

func answerUnary(method string) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		request := &emptypb.Empty{}
		if err := decode(request); err != nil {
			return nil, err
		}
		return intercept(ctx, request, &grpc.UnaryServerInfo{Server: srv, FullMethod: method},
			func(context.Context, any) (any, error) { return &emptypb.Empty{}, nil })
	}
}
