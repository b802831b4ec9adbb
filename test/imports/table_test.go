package imports

// libraries are the modules of others that are used at all.
func libraries() []library {
	return []library{
		{"bbolt", "go.etcd.io/bbolt", "options of the file that holds the Raft log"},
		{"cli", "github.com/mitchellh/cli", "subcommands and their help"},
		{"complete", "github.com/posener/complete", "shell completion, through cli"},
		{"crypto", "golang.org/x/crypto", "XChaCha20-Poly1305, which the standard library lacks"},
		{"cty", "github.com/zclconf/go-cty", "the values of HCL"},
		{"fuse", "github.com/hanwen/go-fuse/v2", "file systems that fail on command, in tests"},
		{"grpc", "google.golang.org/grpc", "every call between processes"},
		{"hclog", "github.com/hashicorp/go-hclog", "the logger that Raft and gossip want"},
		{"hcl", "github.com/hashicorp/hcl/v2", "project files"},
		{"memberlist", "github.com/hashicorp/memberlist", "gossip"},
		{"memdb", "github.com/hashicorp/go-memdb", "tables with snapshots and watches"},
		{"porcupine", "github.com/anishathalye/porcupine", "checks histories for linearizability"},
		{"protobuf", "google.golang.org/protobuf", "everything that is sent or stored"},
		{"raft-boltdb", "github.com/hashicorp/raft-boltdb/v2", "the Raft log on disk"},
		{"raft-wal", "github.com/hashicorp/raft-wal", "the Raft log in files of its own"},
		{"raft", "github.com/hashicorp/raft", "replication"},
		{"rapid", "pgregory.net/rapid", "property tests"},
		{"sys", "golang.org/x/sys", "system calls that package syscall lacks"},
		{"term", "golang.org/x/term", "raw terminals"},
		{"ulid", "github.com/oklog/ulid/v2", "identifiers that know their birth time"},
		{"zstd", "github.com/klauspost/compress", "compression of snapshots and job output"},
	}
}

// bans are walls that no row may open.
func bans() []ban {
	const services = "a service declares the few methods it needs, so that it can be tested and read alone"
	const tools = "the small tools know nothing of Waypoint"
	return []ban{
		{"rpc", "cluster", services},
		{"rpc", "jobs", services},
		{"rpc", "rollout", services},
		{"rpc", "agent", services},
		{"state", "google.golang.org/grpc", "the tables know no network"},
		{"state", "github.com/hashicorp/raft", "the tables know no Raft"},
		{"internal/ids", module, tools},
		{"internal/backoff", module, tools},
		{"internal/task", module, tools},
		{"internal/atomicfile", module, tools},
		{"internal/clock", module, tools},
	}
}

// stateMachineNever are standard packages that would make nodes differ.
func stateMachineNever() map[string]string {
	return map[string]string{
		"crypto/rand":  "callers make ids before the command is sent",
		"math/rand":    "callers make ids before the command is sent",
		"math/rand/v2": "callers make ids before the command is sent",
		"net":          "apply does no I/O",
		"net/http":     "apply does no I/O",
		"os":           "apply does no I/O",
	}
}

// entrypointPackages are the folders of this module that waypoint-entrypoint
// may reach.
func entrypointPackages() []string {
	return []string{"api", "client", "cmd/waypoint-entrypoint", "entrypoint", "errs", "internal", "logs", "protocol", "version"}
}

// entrypointModules are the modules that waypoint-entrypoint may reach: its
// own libraries and what those need.
func entrypointModules() []string {
	return []string{
		"github.com/fatih/color", // hclog
		"github.com/hashicorp/go-hclog",
		"github.com/mattn/go-colorable", // hclog
		"github.com/mattn/go-isatty",    // hclog
		"github.com/oklog/ulid/v2",
		"golang.org/x/net", // grpc
		"golang.org/x/sys",
		"golang.org/x/text",                         // grpc
		"google.golang.org/genproto/googleapis/rpc", // grpc
		"google.golang.org/grpc",
		"google.golang.org/protobuf",
	}
}

// entrypointNever are standard packages that would make waypoint-entrypoint
// big, or able to do what it promises not to do.
func entrypointNever() map[string]string {
	return map[string]string{
		"text/template": "a megabyte that nothing needs",
		"html/template": "a megabyte that nothing needs",
		"expvar":        "it serves HTTP",
	}
}

// manyMethods are types that may have more methods than others, and why.
func manyMethods() map[string]string {
	return map[string]string{
		"rpc/rpctest.Fixture": "what the tests of all services need of a node",
	}
}

// rows are the packages in the order of the design: each imports only what
// stands above it.
func rows() []row {
	return []row{
		{"api/errpb", "", "protobuf"},
		{"api/policypb", "", "protobuf"},
		{"api/authpb", "api/policypb", "grpc protobuf"},
		{"api/configpb", "api/policypb", "grpc protobuf"},
		{"api/projectpb", "api/configpb api/policypb", "grpc protobuf"},
		{"api/versionpb", "api/policypb", "grpc protobuf"},
		{"api/clusterpb", "api/policypb api/versionpb", "grpc protobuf"},
		{"api/deploymentpb", "api/policypb api/versionpb", "grpc protobuf"},
		{"api/execpb", "api/deploymentpb api/errpb api/policypb", "grpc protobuf"},
		{"api/jobpb", "api/deploymentpb api/policypb", "grpc protobuf"},
		{"api/logspb", "api/deploymentpb api/policypb", "grpc protobuf"},
		{"api/entrypointpb", "api/execpb api/logspb api/policypb api/versionpb", "grpc protobuf"},
		{"api/runnerpb", "api/deploymentpb api/jobpb api/policypb api/versionpb", "grpc protobuf"},
		{"api/commandpb", "api/authpb api/clusterpb api/configpb api/deploymentpb api/errpb api/execpb api/jobpb api/runnerpb", "protobuf"},
		{"api/nodepb", "api/commandpb api/deploymentpb api/execpb api/logspb api/policypb", "grpc protobuf"},
		{"errs", "api/errpb", "grpc"},
		{"version", "api/versionpb", ""},
		{"internal/atomicfile", "", ""},
		{"internal/backoff", "", ""},
		{"internal/clock", "", ""},
		{"internal/collector", "", ""},
		{"internal/headtail", "", ""},
		{"internal/ids", "", "ulid"},
		{"internal/protofuzz", "", "protobuf"},
		{"internal/replay", "", ""},
		{"internal/seal", "internal/atomicfile", "crypto"},
		{"internal/signals", "", ""},
		{"internal/task", "", ""},
		{"internal/token", "api/authpb errs", "protobuf"},
		{"internal/wait", "", ""},
		{"protocol", "api/errpb api/versionpb errs version", ""},
		{"logs", "api/logspb", ""},
		{"state", "api/authpb api/clusterpb api/commandpb api/configpb api/deploymentpb api/execpb api/jobpb api/projectpb api/runnerpb internal/ids", "memdb protobuf zstd"},
		{"fsm", "api/authpb api/clusterpb api/commandpb api/configpb api/deploymentpb api/execpb api/jobpb api/projectpb api/runnerpb errs internal/ids protocol state", "hclog protobuf raft"},
		{"client", "api/clusterpb api/errpb api/policypb api/versionpb errs internal/backoff internal/ids internal/task protocol", "grpc hclog protobuf sys"},
		{"client/exec", "api/execpb errs internal/backoff internal/ids internal/replay", "protobuf"},
		{"config", "api/configpb errs", "cty hcl"},
		{"plugin", "errs", ""},
		{"plugin/child", "errs", ""},
		{"plugin/execbuild", "errs plugin plugin/child", ""},
		{"plugin/local", "errs internal/atomicfile plugin plugin/child", "sys"},
		{"plugin/noop", "plugin", ""},
		{"session", "api/commandpb api/configpb api/deploymentpb api/entrypointpb api/execpb api/jobpb api/logspb api/nodepb api/runnerpb errs internal/backoff internal/headtail internal/ids internal/signals internal/task logs state", "hclog protobuf"},
		{"cluster/datadir", "errs internal/atomicfile internal/seal", ""},
		{"cluster/gossip", "api/clusterpb", "hclog memberlist protobuf"},
		{"cluster/pki", "internal/backoff internal/clock", "grpc hclog"},
		{"cluster/raftnet", "", "raft"},
		{"cluster/raftstore", "internal/atomicfile", "bbolt hclog raft raft-boltdb raft-wal"},
		{"cluster", "api/authpb api/clusterpb api/commandpb api/deploymentpb api/nodepb api/runnerpb api/versionpb cluster/datadir cluster/gossip cluster/pki cluster/raftnet cluster/raftstore errs internal/backoff internal/clock internal/ids internal/seal internal/task internal/token protocol state", "grpc hclog protobuf raft"},
		{"jobs", "api/commandpb api/deploymentpb api/jobpb api/nodepb api/runnerpb errs internal/task state", "hclog protobuf"},
		{"rollout", "api/commandpb api/deploymentpb errs state", "hclog protobuf"},
		{"rpc/policy", "api/policypb", "grpc protobuf"},
		{"rpc/call", "api/commandpb api/policypb api/versionpb errs internal/ids", ""},
		{"rpc/names", "api/deploymentpb errs", ""},
		{"rpc/read", "errs rpc/call state", ""},
		{"rpc/serve", "api/authpb api/policypb api/versionpb errs internal/ids internal/task internal/token protocol rpc/call rpc/policy rpc/read state version", "grpc hclog protobuf"},
		{"rpc/auth", "api/authpb api/commandpb api/policypb errs internal/token rpc/call rpc/names rpc/read", "grpc protobuf"},
		{"rpc/cluster", "api/clusterpb errs internal/ids rpc/call rpc/names rpc/read", "grpc"},
		{"rpc/config", "api/commandpb api/configpb api/deploymentpb api/policypb api/projectpb errs internal/signals rpc/call rpc/names rpc/read state", "grpc"},
		{"rpc/deployment", "api/authpb api/commandpb api/deploymentpb api/policypb errs internal/token rpc/call rpc/names rpc/read state", "grpc"},
		{"rpc/entrypoint", "api/entrypointpb rpc/call session", "grpc"},
		{"rpc/exec", "api/deploymentpb api/execpb api/nodepb errs internal/ids rpc/call rpc/names rpc/read session state", "grpc protobuf"},
		{"rpc/job", "api/commandpb api/deploymentpb api/jobpb api/nodepb api/policypb errs internal/backoff internal/headtail internal/ids internal/task rpc/call rpc/names rpc/read session state", "grpc hclog protobuf zstd"},
		{"rpc/logs", "api/deploymentpb api/logspb api/nodepb api/projectpb errs internal/backoff internal/task logs rpc/names rpc/read state", "grpc hclog"},
		{"rpc/node", "api/commandpb api/deploymentpb api/execpb api/nodepb errs session", "grpc"},
		{"rpc/project", "api/commandpb api/projectpb errs rpc/call rpc/names rpc/read", "grpc"},
		{"rpc/rpctest", "api/authpb api/clusterpb api/commandpb api/policypb errs fsm internal/ids internal/seal internal/token protocol rpc/policy rpc/read rpc/serve state version", "grpc hclog protobuf raft"},
		{"rpc/runner", "api/policypb api/runnerpb rpc/call rpc/read session", "grpc"},
		{"rpc/version", "api/versionpb rpc/call rpc/read version", "grpc"},
		{"session/sessiontest", "api/authpb api/commandpb api/configpb api/deploymentpb api/entrypointpb api/execpb api/logspb errs internal/ids rpc/entrypoint rpc/node rpc/rpctest session", "grpc"},
		{"agent", "api/nodepb cluster errs fsm internal/task jobs protocol rollout rpc/auth rpc/cluster rpc/config rpc/deployment rpc/entrypoint rpc/exec rpc/job rpc/logs rpc/node rpc/project rpc/read rpc/runner rpc/serve rpc/version session state version", "grpc hclog"},
		{"runner", "api/configpb api/deploymentpb api/jobpb api/projectpb api/runnerpb config errs internal/backoff internal/headtail internal/ids internal/task plugin plugin/child plugin/execbuild plugin/local plugin/noop version", "grpc hclog zstd"},
		{"entrypoint", "api/entrypointpb api/execpb api/logspb client errs internal/atomicfile internal/backoff internal/ids internal/replay internal/task logs version", "hclog sys"},
		{"command/contexts", "errs internal/atomicfile", ""},
		{"command/output", "api/jobpb api/logspb", "protobuf"},
		{"command", "agent api/authpb api/clusterpb api/configpb api/deploymentpb api/execpb api/jobpb api/logspb api/projectpb api/runnerpb api/versionpb client client/exec cluster command/contexts command/output config errs internal/backoff internal/collector internal/ids protocol runner version", "cli complete grpc hclog protobuf term"},
		{"cmd/waypoint", "command", ""},
		{"cmd/waypoint-entrypoint", "entrypoint version", ""},
		{"test/harness", "api/clusterpb api/deploymentpb api/logspb api/projectpb client", "protobuf"},
		{"test/bench", "api/clusterpb api/configpb api/deploymentpb api/entrypointpb api/jobpb api/projectpb api/runnerpb api/versionpb client cluster/raftstore fsm internal/ids protocol state test/harness version", "hclog protobuf raft sys"},
		{"test/soak", "api/deploymentpb api/logspb test/harness", ""},
		{"test/cluster", "", ""},
		{"test/e2e", "", ""},
		{"test/entrypoint", "", ""},
		{"test/faults/network", "", "sys"},
		{"test/faults/disk", "", "fuse sys"},
		{"test/faults", "", ""},
		{"test/faults/check", "", "porcupine"},
		{"test/faults/load", "api/configpb api/jobpb api/logspb api/projectpb client errs internal/ids protocol test/faults/check test/harness", "grpc"},
		{"test/hostile", "", ""},
		{"test/imports", "", ""},
		{"scripts/demo", "test/harness", ""},
	}
}
