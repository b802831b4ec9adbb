package state

import (
	"fmt"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"waypoint/api/authpb"
	"waypoint/api/clusterpb"
	"waypoint/api/commandpb"
	"waypoint/api/configpb"
	"waypoint/api/deploymentpb"
	"waypoint/api/execpb"
	"waypoint/api/jobpb"
	"waypoint/api/projectpb"
	"waypoint/api/runnerpb"
)

// Row is any message that a table holds.
type Row interface {
	*commandpb.Meta | *commandpb.Secret | *commandpb.Counters |
		*clusterpb.Node | *authpb.Token | *projectpb.Project | *configpb.Variable |
		*deploymentpb.Build | *deploymentpb.Artifact | *deploymentpb.Deployment |
		*deploymentpb.Release | *deploymentpb.Instance | *runnerpb.Runner |
		*jobpb.Job | *jobpb.Output | *execpb.Session
	proto.Message
}

// tables are the tables of a store. They are made once and never change.
type tables struct {
	meta        *table[*commandpb.Meta]
	secrets     *table[*commandpb.Secret]
	nodes       *table[*clusterpb.Node]
	tokens      *table[*authpb.Token]
	projects    *table[*projectpb.Project]
	counters    *table[*commandpb.Counters]
	config      *table[*configpb.Variable]
	builds      *table[*deploymentpb.Build]
	artifacts   *table[*deploymentpb.Artifact]
	deployments *table[*deploymentpb.Deployment]
	releases    *table[*deploymentpb.Release]
	instances   *table[*deploymentpb.Instance]
	runners     *table[*runnerpb.Runner]
	jobs        *table[*jobpb.Job]
	outputs     *table[*jobpb.Output]
	requests    requestTable

	execSessions *table[*execpb.Session]

	byRow map[protoreflect.FullName]rows // name of the row's message
}

func newTables() *tables {
	t := &tables{
		meta:        metaTable(),
		secrets:     secretTable(),
		nodes:       nodeTable(),
		tokens:      tokenTable(),
		projects:    projectTable(),
		counters:    countersTable(),
		config:      configTable(),
		builds:      buildTable(),
		artifacts:   artifactTable(),
		deployments: deploymentTable(),
		releases:    releaseTable(),
		instances:   instanceTable(),
		runners:     runnerTable(),
		jobs:        jobTable(),
		outputs:     outputTable(),

		execSessions: execSessionTable(),
	}
	t.byRow = map[protoreflect.FullName]rows{
		rowName[*commandpb.Meta]():          t.meta,
		rowName[*commandpb.Secret]():        t.secrets,
		rowName[*clusterpb.Node]():          t.nodes,
		rowName[*authpb.Token]():            t.tokens,
		rowName[*projectpb.Project]():       t.projects,
		rowName[*commandpb.Counters]():      t.counters,
		rowName[*configpb.Variable]():       t.config,
		rowName[*deploymentpb.Build]():      t.builds,
		rowName[*deploymentpb.Artifact]():   t.artifacts,
		rowName[*deploymentpb.Deployment](): t.deployments,
		rowName[*deploymentpb.Release]():    t.releases,
		rowName[*deploymentpb.Instance]():   t.instances,
		rowName[*runnerpb.Runner]():         t.runners,
		rowName[*jobpb.Job]():               t.jobs,
		rowName[*jobpb.Output]():            t.outputs,
		rowName[*execpb.Session]():          t.execSessions,
	}
	return t
}

// inOrder lists the tables in the order of a snapshot. New ones go to the end.
func (t *tables) inOrder() []rows {
	return []rows{
		t.meta, t.secrets, t.nodes, t.tokens, t.projects, t.counters, t.config,
		t.builds, t.artifacts, t.deployments, t.releases, t.instances, t.runners,
		t.jobs, t.outputs, t.requests, t.execSessions,
	}
}

// of returns the table that holds rows like this one.
func (t *tables) of(row proto.Message) rows {
	found := t.byRow[row.ProtoReflect().Descriptor().FullName()]
	if found == nil || !found.accepts(row) {
		panic(fmt.Sprintf("state: no table holds %T", row))
	}
	return found
}

// newDB makes an empty database for the tables.
func (t *tables) newDB() *memdb.MemDB {
	schema := &memdb.DBSchema{Tables: map[string]*memdb.TableSchema{}}
	for _, table := range t.inOrder() {
		if s := table.schema(); s != nil {
			schema.Tables[table.tableName()] = s
		}
	}
	db, err := memdb.NewMemDB(schema)
	if err != nil {
		panic(fmt.Sprintf("state: schema: %v", err))
	}
	return db
}

func rowName[M Row]() protoreflect.FullName {
	var none M
	return none.ProtoReflect().Descriptor().FullName()
}
