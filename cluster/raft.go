package cluster

import (
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// maxAppend is the number of log entries in one message to a follower. Each may
// hold many commands, up to maxEntry bytes.
const maxAppend = 64

func raftConfig(logger hclog.Logger, tune Tuning, nodeID string, notify chan<- bool) *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(nodeID)
	conf.Logger = newQuiet(logger.Named("raft"), time.Now)
	conf.HeartbeatTimeout = tune.Heartbeat
	conf.ElectionTimeout = tune.Election
	conf.LeaderLeaseTimeout = tune.Lease
	conf.CommitTimeout = tune.Commit
	conf.MaxAppendEntries = maxAppend
	conf.SnapshotThreshold = tune.SnapshotAfter
	conf.SnapshotInterval = tune.SnapshotEvery
	conf.TrailingLogs = tune.TrailingLogs
	conf.NoLegacyTelemetry = true
	conf.NotifyCh = notify
	return conf
}
