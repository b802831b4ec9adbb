package fsm

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"waypoint/api/commandpb"
	"waypoint/errs"
	"waypoint/protocol"
)

// kind is what the state machine knows of a command kind.
type kind struct {
	name       protoreflect.Name // of its field in Command
	introduced uint32            // node protocol version
	run        func(*op, proto.Message) (*commandpb.Result, error)
}

type kinds map[protoreflect.FieldNumber]kind

// allKinds is the list of everything that can be done to the state, with the
// node protocol version that brought it.
func allKinds() kinds {
	k := kinds{}
	add(k, 1, bootstrap)
	add(k, 1, noop)
	add(k, 1, nodeUpsert)
	add(k, 1, nodeRemove)
	add(k, 1, nodeVersionRaise)
	add(k, 1, nodeLost)
	add(k, 1, tokenCreate)
	add(k, 1, tokenRevoke)
	add(k, 1, joinTokenUse)
	add(k, 1, projectApply)
	add(k, 1, projectDestroy)
	add(k, 1, configSet)
	add(k, 1, configPolicySet)
	add(k, 1, buildCreate)
	add(k, 1, buildFinish)
	add(k, 1, deploymentCreate)
	add(k, 1, deploymentFinish)
	add(k, 1, deploymentDestroy)
	add(k, 1, releaseCreate)
	add(k, 1, releaseFinish)
	add(k, 1, instanceAttach)
	add(k, 1, instanceUpdate)
	add(k, 1, restartGrant)
	add(k, 1, execStart)
	add(k, 1, execEnd)
	add(k, 1, runnerAttach)
	add(k, 1, runnerDetach)
	add(k, 1, jobSubmit)
	add(k, 1, jobAssign)
	add(k, 1, jobStage)
	add(k, 1, jobFinish)
	add(k, 1, jobCancel)
	add(k, 1, jobExpire)
	add(k, 1, prune)
	return k
}

// add enters the function for the kind whose message it takes.
func add[M proto.Message](k kinds, introduced uint32, run func(*op, M) (*commandpb.Result, error)) {
	var none M
	field := fieldOf(none.ProtoReflect().Descriptor().FullName())
	k[field.Number()] = kind{
		name:       field.Name(),
		introduced: introduced,
		run:        func(o *op, m proto.Message) (*commandpb.Result, error) { return run(o, m.(M)) },
	}
}

func kindOneof() protoreflect.OneofDescriptor {
	return (*commandpb.Command)(nil).ProtoReflect().Descriptor().Oneofs().ByName("kind")
}

func fieldOf(message protoreflect.FullName) protoreflect.FieldDescriptor {
	fields := kindOneof().Fields()
	for i := range fields.Len() {
		if fields.Get(i).Message().FullName() == message {
			return fields.Get(i)
		}
	}
	panic(fmt.Sprintf("fsm: %s is no command kind", message))
}

// of finds a command's kind and content. A kind above the active version of
// the node protocol is refused. A build that does not know a kind at all says
// the same if the kind must be above it, and otherwise panics: going on would
// make this node's state differ from the others'.
func (k kinds) of(command *commandpb.Command, active uint32) (kind, proto.Message, error) {
	// A state without a cluster has no active version yet, and only Bootstrap
	// does anything in it.
	active = max(active, 1)
	m := command.ProtoReflect()
	field := m.WhichOneof(kindOneof())
	if field == nil && len(m.GetUnknown()) == 0 {
		return kind{}, nil, errs.New(errs.Invalid, "the command is empty")
	}
	if field == nil {
		if known := protocol.Current().GetNode().GetCurrent(); active > known {
			panic(fmt.Sprintf("the log holds a command that this build does not know: the cluster's active node "+
				"protocol is version %d, this build knows up to %d; run a newer build", active, known))
		}
		return kind{}, nil, tooNew(active)
	}
	found, ok := k[field.Number()]
	if !ok {
		panic(fmt.Sprintf("fsm: nothing handles %s", field.Name()))
	}
	if found.introduced > active {
		return kind{}, nil, tooNew(active)
	}
	return found, m.Get(field).Message().Interface(), nil
}

// tooNew must not depend on anything that only newer builds know.
func tooNew(active uint32) error {
	return errs.New(errs.Unimplemented, "the command needs a newer node protocol than version %d, "+
		"which is the active one until every server has been upgraded", active)
}
