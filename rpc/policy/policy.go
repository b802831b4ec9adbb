// Package policy knows who may call each method and which protocol guards it.
// Our own methods declare it as an option in their proto file, foreign services
// stand in a table here. It knows no credentials: package serve finds out who
// calls.
package policy

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"waypoint/api/policypb"
)

// ownPrefix is what the proto packages of this project begin with.
const ownPrefix = "waypoint."

// Table maps the full names of methods, "/package.Service/Method", to policies.
// It is complete when made and never changes.
type Table struct {
	methods map[string]*policypb.Policy
}

// Load reads the options of every service of this project that is linked into
// the program and adds the foreign services. It fails on a method that does not
// say who may call it or which protocol guards it.
func Load() (*Table, error) {
	table := &Table{methods: foreign()}
	var failure error
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package())+".", ownPrefix) {
			return true
		}
		failure = table.addFile(file)
		return failure == nil
	})
	if failure != nil {
		return nil, failure
	}
	return table, nil
}

func (t *Table) addFile(file protoreflect.FileDescriptor) error {
	for i := range file.Services().Len() {
		methods := file.Services().Get(i).Methods()
		for j := range methods.Len() {
			method := methods.Get(j)
			policy, err := declared(method)
			if err != nil {
				return err
			}
			t.methods[fullName(method)] = policy
		}
	}
	return nil
}

// declared returns the policy option of a method.
func declared(method protoreflect.MethodDescriptor) (*policypb.Policy, error) {
	policy, _ := proto.GetExtension(method.Options(), policypb.E_Policy).(*policypb.Policy)
	switch {
	case len(policy.GetCallers()) == 0:
		return nil, fmt.Errorf("method %s declares no callers: give it the option (waypoint.policy.policy)", method.FullName())
	case slices.Contains(policy.GetCallers(), policypb.Caller_CALLER_UNSPECIFIED):
		return nil, fmt.Errorf("method %s declares an unspecified caller", method.FullName())
	case policy.GetProtocol() == policypb.Protocol_PROTOCOL_UNSPECIFIED:
		return nil, fmt.Errorf("method %s declares no protocol: PROTOCOL_NONE says that none guards it", method.FullName())
	}
	return policy, nil
}

func fullName(method protoreflect.MethodDescriptor) string {
	return "/" + string(method.Parent().FullName()) + "/" + string(method.Name())
}

// foreign is the table of services that are not ours and carry no option.
func foreign() map[string]*policypb.Policy {
	anonymous := &policypb.Policy{
		Callers:  []policypb.Caller{policypb.Caller_CALLER_ANONYMOUS},
		Protocol: policypb.Protocol_PROTOCOL_NONE,
	}
	users := &policypb.Policy{
		Callers:  []policypb.Caller{policypb.Caller_CALLER_USER},
		Protocol: policypb.Protocol_PROTOCOL_NONE,
	}
	return map[string]*policypb.Policy{
		"/grpc.health.v1.Health/Check": anonymous,
		"/grpc.health.v1.Health/Watch": anonymous,
		"/grpc.health.v1.Health/List":  anonymous,

		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      users,
		"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": users,
	}
}

// Lookup returns the policy of a method, or nil if there is none: such a method
// must not be served.
func (t *Table) Lookup(method string) *policypb.Policy { return t.methods[method] }

// Methods returns the names of all methods of the table, sorted.
func (t *Table) Methods() []string {
	names := make([]string, 0, len(t.methods))
	for name := range t.methods {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Check fails if the server has a method without a policy.
func (t *Table) Check(services map[string]grpc.ServiceInfo) error {
	var missing []string
	for service, info := range services {
		for _, method := range info.Methods {
			name := "/" + service + "/" + method.Name
			if t.Lookup(name) == nil {
				missing = append(missing, name)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return fmt.Errorf("no policy says who may call %s: declare it in the proto file, or in package policy for a foreign service",
		strings.Join(missing, ", "))
}

// Admits says whether a caller of that kind may call a method of this policy.
func Admits(p *policypb.Policy, caller policypb.Caller) bool {
	return slices.Contains(p.GetCallers(), caller) || Open(p)
}

// Open says whether anybody may call a method of this policy.
func Open(p *policypb.Policy) bool {
	return slices.Contains(p.GetCallers(), policypb.Caller_CALLER_ANONYMOUS)
}
