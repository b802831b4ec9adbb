package command

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/posener/complete"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waypoint/api/jobpb"
	"waypoint/command/output"
)

func jobListCommand() *Command {
	f, list := newListFlags()
	var states []string
	f.List(&states, "state", complete.PredictSet("queued", "running", "succeeded", "failed", "canceled"), "only jobs in this `state`: queued, running, succeeded, failed or canceled; may be given several times")
	list.limited(f)
	return &Command{
		Synopsis: "List jobs, newest first",
		Help:     filterHelp,
		Examples: `waypoint job list -state=queued -state=running`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			ref, err := list.scope.filter(env)
			if err != nil {
				return err
			}
			request := &jobpb.ListRequest{Project: ref.GetProject(), App: ref.GetApp(), Workspace: ref.GetWorkspace(), Limit: uint32(list.limit)}
			for _, name := range states {
				state, ok := jobpb.State_value["STATE_"+strings.ToUpper(name)]
				if !ok || state == 0 {
					return usagef("-state=%s: there is no such state; use queued, running, succeeded, failed or canceled", name)
				}
				request.States = append(request.States, jobpb.State(state))
			}
			return list.conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				reply, err := jobpb.NewJobServiceClient(cc).List(ctx, request)
				if err != nil {
					return fmt.Errorf("list jobs: %w", err)
				}
				return list.conn.show(env, reply, orHint(jobTable(env, reply.GetJobs()), "There are no jobs; \"waypoint up\" makes one."))
			})
		},
	}
}

func jobTable(env *Env, jobs []*jobpb.Job) *output.Table {
	table := output.NewTable("ID", "OPERATION", "APP", "WORKSPACE", "STATE", "CREATED", "TOOK", "NOTE")
	for _, j := range jobs {
		note := j.GetError()
		if j.GetState() == jobpb.State_STATE_QUEUED {
			note = j.GetWaiting()
		}
		app := j.GetSpec().GetProject()
		if j.GetSpec().GetApp() != "" {
			app += "/" + j.GetSpec().GetApp()
		}
		table.Row(j.GetId(), operationWord(j.GetSpec().GetOperation()), app, j.GetSpec().GetWorkspace(), stateWord(j.GetState()),
			output.Ago(env.Now(), j.GetCreatedAt()), took(j.GetAssignedAt(), j.GetEndedAt()), note)
	}
	return table
}

func jobInspectCommand() *Command {
	f := newFlags()
	conn := f.reads()
	return &Command{
		Synopsis: "Show a job and its stages",
		Args:     "ID",
		Help:     `"waypoint job watch" shows its output.`,
		Examples: `waypoint job inspect 01J9ZQ6V8N0000000000000000`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			id, err := oneArg(args, "the job's ID")
			if err != nil {
				return err
			}
			return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				reply, err := jobpb.NewJobServiceClient(cc).Get(ctx, &jobpb.GetRequest{Id: id})
				if err != nil {
					return fmt.Errorf("inspect job %s: %w", id, err)
				}
				return conn.show(env, reply, func(w io.Writer) error { return showJob(w, env, reply.GetJob()) })
			})
		},
	}
}

func showJob(w io.Writer, env *Env, j *jobpb.Job) error {
	spec := j.GetSpec()
	fields := &output.Fields{}
	fields.Add("ID", j.GetId())
	fields.Add("Operation", operationWord(spec.GetOperation()))
	fields.Add("Project", spec.GetProject())
	fields.Add("App", spec.GetApp())
	fields.Add("Workspace", spec.GetWorkspace())
	fields.Add("State", stateWord(j.GetState()))
	fields.Add("Waiting", j.GetWaiting())
	fields.Add("Error", j.GetError())
	if j.GetCancelRequested() {
		fields.Add("Cancel", "requested")
	}
	fields.Add("Folder", spec.GetFolder())
	fields.Add("Runner", j.GetRunnerId())
	if j.GetAttempt() > 0 {
		fields.Add("Attempt", fmt.Sprint(j.GetAttempt()))
	}
	fields.Add("Created", output.Ago(env.Now(), j.GetCreatedAt()))
	if j.GetEndedAt() != nil {
		fields.Add("Took", took(j.GetAssignedAt(), j.GetEndedAt()))
	}
	if err := fields.Write(w, ""); err != nil {
		return err
	}
	if len(j.GetStages()) == 0 {
		return nil
	}
	table := output.NewTable("STAGE", "APP", "STATE", "TOOK", "MESSAGE")
	for _, s := range j.GetStages() {
		table.Row(s.GetName(), s.GetApp(), output.Enum(s.GetState(), "STAGE_STATE_"), took(s.GetStartedAt(), s.GetEndedAt()), s.GetMessage())
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return table.Write(w)
}

func jobCancelCommand() *Command {
	f := newFlags()
	conn := f.writes()
	return &Command{
		Synopsis: "Ask for a job to be cancelled",
		Args:     "ID",
		Help:     `A queued job is cancelled at once. A running one is told to stop; "waypoint job watch" shows when it has.`,
		Examples: `waypoint job cancel 01J9ZQ6V8N0000000000000000`,
		Flags:    f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			id, err := oneArg(args, "the job's ID")
			if err != nil {
				return err
			}
			return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				reply, err := jobpb.NewJobServiceClient(cc).Cancel(ctx, &jobpb.CancelRequest{Id: id})
				if err != nil {
					return fmt.Errorf("cancel job %s: %w", id, err)
				}
				return conn.show(env, reply, func(w io.Writer) error {
					text := "Job %s is told to stop.\n"
					if ended(reply.GetJob()) {
						text = "Job %s is " + stateWord(reply.GetJob().GetState()) + ".\n"
					}
					_, err := fmt.Fprintf(w, text, id)
					return err
				})
			})
		},
	}
}

func operationWord(op jobpb.Operation) string { return output.Enum(op, "OPERATION_") }

func stateWord(s jobpb.State) string { return output.Enum(s, "STATE_") }

func ended(j *jobpb.Job) bool {
	switch j.GetState() {
	case jobpb.State_STATE_SUCCEEDED, jobpb.State_STATE_FAILED, jobpb.State_STATE_CANCELED:
		return true
	}
	return false
}

// took is the time between two moments, "" if either is not known.
func took(from, to *timestamppb.Timestamp) string {
	if from == nil || to == nil {
		return ""
	}
	return output.Took(to.AsTime().Sub(from.AsTime()))
}
