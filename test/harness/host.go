package harness

import (
	"context"
	"net"
	"os/exec"
)

// Host is where processes run that are not to run beside the harness itself,
// for example because it has a network of its own.
type Host interface {
	// Addr is the IP address that processes in the host listen on.
	Addr() string
	// Enter makes a command that is not started yet run in the host.
	Enter(cmd *exec.Cmd)
	// Dial opens a TCP connection from the host to an IP address and port.
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// Role is what runs in a host.
type Role string

// The roles that Cluster.Host is asked for. Only nodes and clients have numbers;
// of the others there is one host each.
const (
	NodeRole   Role = "node"   // the n-th node
	ClientRole Role = "client" // what Dial returns for n
	UserRole   Role = "user"   // commands
	AppRole    Role = "app"    // runners, and instances that the harness starts
)

// enter makes a command run where its role does.
func (c *Cluster) enter(cmd *exec.Cmd, role Role, i int) {
	if c.Host != nil {
		c.Host(role, i).Enter(cmd)
	}
}

// roleOf is what a call of the CLI is: a runner starts applications.
func roleOf(args []string) Role {
	if len(args) > 0 && args[0] == "runner" {
		return AppRole
	}
	return UserRole
}
