package protocol

import (
	"fmt"

	"waypoint/api/errpb"
	"waypoint/api/versionpb"
	"waypoint/errs"
)

// The values of errpb.ProtocolMismatch's field upgrade: the side to upgrade.
const (
	UpgradeClient = "client"
	UpgradeServer = "server"
)

// Negotiate returns the highest version of the named protocol that both sides
// speak. Either side may call it. If there is none, the error is of kind
// Protocol and says, in words and in its Mismatch, what each side speaks and
// which one to upgrade; a nil range is that of a side that does not speak the
// protocol at all.
func Negotiate(name string, server, client *versionpb.Range) (uint32, error) {
	if common, ok := highestCommon(server, client); ok {
		return common, nil
	}
	m := &errpb.ProtocolMismatch{
		Protocol:      name,
		ServerMin:     server.GetMin(),
		ServerCurrent: server.GetCurrent(),
		ClientMin:     client.GetMin(),
		ClientCurrent: client.GetCurrent(),
		Upgrade:       UpgradeServer,
	}
	if server != nil && client.GetCurrent() < server.GetMin() {
		m.Upgrade = UpgradeClient
	}
	err := errs.New(errs.Protocol, "the client speaks %s of the %s protocol, the server %s: upgrade the %s",
		words(client), name, words(server), m.Upgrade)
	err.Mismatch = m
	return 0, err
}

func highestCommon(a, b *versionpb.Range) (uint32, bool) {
	common := min(a.GetCurrent(), b.GetCurrent())
	return common, common > 0 && common >= a.GetMin() && common >= b.GetMin()
}

// words says a range: "no version", "version 3" or "versions 3 to 5".
func words(r *versionpb.Range) string {
	switch {
	case r.GetCurrent() == 0:
		return "no version"
	case r.GetMin() == r.GetCurrent():
		return fmt.Sprintf("version %d", r.GetCurrent())
	default:
		return fmt.Sprintf("versions %d to %d", r.GetMin(), r.GetCurrent())
	}
}
