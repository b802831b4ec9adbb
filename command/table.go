package command

import (
	"context"
	"strings"
)

// entry is a row of the table of commands.
type entry struct {
	name  string
	group string // heading in the overview; empty: not shown there
	build func() *Command
}

const (
	groupStart   = "Getting started"
	groupDeploy  = "Building and deploying"
	groupRunning = "Looking at what runs"
	groupRecords = "Records"
	groupCluster = "The cluster"
)

// commands is every command there is.
func commands() []entry {
	return []entry{
		{"login", groupStart, loginCommand},
		{"init", groupStart, initCommand},
		{"context", groupStart, group("context", "The clusters you know", "waypoint context list")},
		{"context list", "", contextListCommand},
		{"context use", "", contextUseCommand},
		{"context create", "", contextCreateCommand},
		{"context delete", "", contextDeleteCommand},
		{"context inspect", "", contextInspectCommand},

		{"up", groupDeploy, upCommand},
		{"build", groupDeploy, buildCommand},
		{"build list", "", buildListCommand},
		{"deploy", groupDeploy, deployCommand},
		{"release", groupDeploy, releaseCommand},
		{"release list", "", releaseListCommand},
		{"destroy", groupDeploy, destroyCommand},

		{"status", groupRunning, statusCommand},
		{"logs", groupRunning, logsCommand},
		{"exec", groupRunning, execCommand},
		{"exec list", "", execListCommand},
		{"config", groupRunning, group("config", "Configuration variables of apps", "waypoint config set GREETING=hello")},
		{"config set", "", configSetCommand},
		{"config get", "", configGetCommand},
		{"config delete", "", configDeleteCommand},
		{"config policy", "", configPolicyCommand},

		{"project", groupRecords, group("project", "Projects and their apps", "waypoint project list")},
		{"project list", "", projectListCommand},
		{"project inspect", "", projectInspectCommand},
		{"project apply", "", projectApplyCommand},
		{"project destroy", "", projectDestroyCommand},
		{"workspace", groupRecords, group("workspace", "Workspaces in use", "waypoint workspace list")},
		{"workspace list", "", workspaceListCommand},
		{"deployment", groupRecords, group("deployment", "Deployments of apps", "waypoint deployment list")},
		{"deployment list", "", deploymentListCommand},
		{"instance", groupRecords, group("instance", "Running copies of deployments", "waypoint instance list")},
		{"instance list", "", instanceListCommand},
		{"job", groupRecords, group("job", "Queued, running and ended operations", "waypoint job list")},
		{"job list", "", jobListCommand},
		{"job inspect", "", jobInspectCommand},
		{"job watch", "", jobWatchCommand},
		{"job cancel", "", jobCancelCommand},

		{"server", groupCluster, group("server", "Server nodes", "waypoint server run -bootstrap -data-dir=n1")},
		{"server run", "", serverRunCommand},
		{"server join-token", "", serverJoinTokenCommand},
		{"server migrate-log", "", serverMigrateLogCommand},
		{"runner", groupCluster, group("runner", "Runners, which do the work of jobs", "waypoint runner list")},
		{"runner agent", "", runnerAgentCommand},
		{"runner list", "", runnerListCommand},
		{"operator", groupCluster, group("operator", "Tools for who runs the servers", "waypoint operator members")},
		{"operator members", "", operatorMembersCommand},
		{"operator raft", "", group("operator raft", "The consensus group", "waypoint operator raft list-peers")},
		{"operator raft list-peers", "", operatorRaftListPeersCommand},
		{"operator raft remove-peer", "", operatorRaftRemovePeerCommand},
		{"operator token", "", group("operator token", "Tokens, from a node's own host", "waypoint operator token recover -data-dir=n1")},
		{"operator token recover", "", operatorTokenRecoverCommand},
		{"token", groupCluster, group("token", "Tokens of users and runners", "waypoint token list")},
		{"token create", "", tokenCreateCommand},
		{"token list", "", tokenListCommand},
		{"token revoke", "", tokenRevokeCommand},
		{"version", groupCluster, versionCommand},
	}
}

// group is a command that only holds others.
func group(name, synopsis, example string) func() *Command {
	return func() *Command {
		return &Command{
			Synopsis: synopsis,
			Args:     "COMMAND",
			Examples: example,
			Flags:    newFlags(),
			Run: func(_ context.Context, _ *Env, args []string) error {
				members := strings.Join(membersOf(name), ", ")
				if len(args) == 0 {
					return usagef("%s needs a command: %s", name, members)
				}
				return usagef("there is no command \"%s %s\"; there are: %s", name, args[0], members)
			},
		}
	}
}

// membersOf are the names of the commands directly below a group.
func membersOf(name string) []string {
	var members []string
	for _, e := range commands() {
		member, ok := strings.CutPrefix(e.name, name+" ")
		if ok && !strings.Contains(member, " ") {
			members = append(members, member)
		}
	}
	return members
}
