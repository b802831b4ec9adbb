package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/posener/complete"

	"waypoint/api/deploymentpb"
	"waypoint/api/logspb"
	"waypoint/command/output"
	"waypoint/errs"
	"waypoint/internal/backoff"
)

func logsCommand() *Command {
	f := newFlags()
	var deployment, instance string
	request := &logspb.StreamRequest{}
	var tail uint
	var times bool
	f.Bool(&request.Follow, "follow", "wait for new lines until Ctrl-C")
	f.Alias("f", "follow")
	f.Uint(&tail, "tail", 0, "begin with this `number` of lines per instance; default: all that is kept")
	f.Alias("n", "tail")
	f.Bool(&times, "timestamps", "begin each line with its time")
	f.Alias("t", "timestamps")
	deploymentFlag(f, &deployment)
	f.String(&instance, "instance", "", complete.PredictAnything, "only the `instance` of this id, or of this end of an id, as the prefix of the lines shows it")
	where := f.scope("only this `app`; default: all apps of the project", "the `workspace`; default: \"default\"")
	conn := f.writes()
	return &Command{
		Synopsis: "Show what the instances of an app write",
		Help: `Lines of all instances are merged by time. The prefix is the end of the instance's id; "*" in it marks what the entrypoint itself has to say. Lines that are lost are told as a gap with its size, on standard error. If the server fails, the command goes on through another, without showing a line twice.

With -json each line is one message of the stream; the text of a line ("data") is in base64, as it may hold any bytes.`,
		Examples: `waypoint logs -f
			waypoint logs -app=web -deployment=v3 -n=100`,
		Flags: f,
		Run: func(ctx context.Context, env *Env, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			at, err := where.target(env)
			if err != nil {
				return err
			}
			request.App, request.Tail = at.ref(), uint32(tail)
			return conn.calls(ctx, env, func(ctx context.Context, cc Conn) error {
				api := deploymentpb.NewDeploymentServiceClient(cc)
				if request.DeploymentId, err = deploymentID(ctx, api, request.App, deployment); err != nil {
					return err
				}
				if request.InstanceId, err = instanceID(ctx, api, request.App, instance); err != nil {
					return err
				}
				r := &logReader{env: env, cc: cc, request: request, json: conn.json,
					screen: output.NewLogs(env.Stdout, env.Stderr, env.style(env.Stdout), times)}
				return r.run(ctx)
			})
		},
	}
}

// fullID is the length of an id.
const fullID = 26

// instanceID understands what -instance takes: an id, or the end of one.
func instanceID(ctx context.Context, api deploymentpb.DeploymentServiceClient, ref *deploymentpb.AppRef, text string) (string, error) {
	text = strings.ToUpper(text)
	if text == "" || len(text) == fullID {
		return text, nil
	}
	reply, err := api.ListInstances(ctx, &deploymentpb.ListInstancesRequest{App: ref, Ended: true})
	if err != nil {
		return "", fmt.Errorf("find instance %s: %w", text, err)
	}
	found := ""
	for _, i := range reply.GetInstances() {
		switch {
		case !strings.HasSuffix(i.GetId(), text):
		case found != "":
			return "", usagef("the ids of several instances end with %s: give more of it", text)
		default:
			found = i.GetId()
		}
	}
	if found == "" {
		return "", errs.New(errs.NotFound, "no instance of %s has an id that ends with %s; \"waypoint instance list -all\" shows them", appPath(ref), text)
	}
	return found, nil
}

// logReader reads log lines over broken streams.
type logReader struct {
	env     *Env
	cc      Conn
	request *logspb.StreamRequest
	json    bool
	screen  *output.Logs

	node  string    // that the newest stream went to
	heard time.Time // when the newest message came; zero before the first
}

func (r *logReader) run(ctx context.Context) error {
	defer r.screen.Close()
	pause := backoff.New(50*time.Millisecond, 2*time.Second)
	broken := false
	for {
		err := r.once(ctx, func() {
			pause.Reset()
			broken = false
		})
		switch {
		case err == nil:
			return nil
		case errors.Is(context.Cause(ctx), errInterrupted) && r.request.GetFollow():
			return nil // that is how following ends
		case ctx.Err() != nil:
			return err
		case !lost(err) || r.heard.IsZero() || !r.patient():
			return fmt.Errorf("read logs: %w", err)
		}
		r.cc.Avoid(r.node)
		if !broken {
			broken = true
			if err := r.screen.Notice(fmt.Sprintf("the connection to %s is lost; going on through another server", orUnknown(r.node))); err != nil {
				return err
			}
		}
		r.request.After = r.screen.After()
		if err := pause.Wait(ctx); err != nil && !r.request.GetFollow() {
			return err
		}
	}
}

// patient tells whether it is worth trying again. Who follows wants to go on
// however long an outage lasts.
func (r *logReader) patient() bool {
	return r.request.GetFollow() || r.env.Now().Sub(r.heard) < streamPatience
}

// once reads one stream to its end.
func (r *logReader) once(ctx context.Context, received func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := logspb.NewLogsClient(r.cc).Stream(ctx, r.request)
	if err != nil {
		return err
	}
	r.node = r.cc.Current()
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if r.request.GetFollow() {
				return errs.New(errs.Unavailable, "the server ended the stream")
			}
			return nil
		}
		if err != nil {
			return err
		}
		r.heard = r.env.Now()
		received()
		if err := r.show(resp); err != nil {
			return err
		}
	}
}

func (r *logReader) show(resp *logspb.StreamResponse) error {
	for _, batch := range resp.GetBatches() {
		r.screen.Fresh(batch)
	}
	if !r.json {
		return r.screen.Response(resp)
	}
	if len(resp.GetBatches()) == 0 && resp.GetNotice() == "" {
		return nil
	}
	return output.MessageLine(r.env.Stdout, resp)
}

func orUnknown(addr string) string {
	if addr == "" {
		return "the server"
	}
	return addr
}
