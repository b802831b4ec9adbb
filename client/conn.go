package client

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"waypoint/api/errpb"
	"waypoint/api/policypb"
	"waypoint/errs"
	"waypoint/internal/backoff"
	"waypoint/internal/ids"
)

const (
	minPause = 50 * time.Millisecond // between two rounds of a unary call
	maxPause = time.Second

	// dedupeWindow is how long servers remember a request id. An id that
	// was older than this when it arrived cannot have been done.
	dedupeWindow = 10 * time.Minute
)

// conn is the client as generated code wants it.
type conn struct{ c *Client }

var _ grpc.ClientConnInterface = conn{}

// Invoke makes a unary call. It repeats it under the same request id on other
// nodes while no node has given a definite answer. If time runs out after a
// node got the call and then was silent, that is errs.OutcomeUnknown.
func (n conn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	limit, cancel := n.c.limit(ctx)
	defer cancel()
	u := &unary{c: n.c, method: method, args: args, reply: reply, opts: opts}
	u.id, u.ownID = n.c.requestID(ctx)
	pause := backoff.New(minPause, maxPause)
	for {
		err, again := u.try(limit)
		if !again {
			return err
		}
		if limit.Err() != nil || pause.Wait(limit) != nil {
			return u.giveUp(ctx, err)
		}
	}
}

// limit bounds a unary call.
func (c *Client) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); !ok {
		return context.WithTimeout(ctx, c.tuning.unary)
	}
	return context.WithTimeout(ctx, c.tuning.longest)
}

// unary is one unary call with all its attempts.
type unary struct {
	c           *Client
	method      string
	args, reply any
	opts        []grpc.CallOption

	id        string
	ownID     bool
	corrected bool   // the id was made anew because our clock was wrong
	attempts  uint   // that reached a node
	lost      string // a node that got the call and did not answer
	refusal   error  // the newest answer of a node that could not do the call
}

// try makes one attempt. again says that the error is no definite answer.
func (u *unary) try(ctx context.Context) (err error, again bool) {
	l, err := u.c.link(ctx)
	if err != nil {
		err = typed(err)
		return err, ctx.Err() != nil || errs.Is(err, errs.Unavailable)
	}
	defer l.release()
	attempt, cancel := context.WithTimeout(ctx, u.c.tuning.attempt<<min(u.attempts, 6))
	defer cancel()
	u.attempts++

	var header, trailer metadata.MD
	opts := append([]grpc.CallOption{grpc.Header(&header), grpc.Trailer(&trailer)}, u.opts...)
	sent := time.Now()
	err = l.cc.Invoke(u.c.outgoing(attempt, u.id), u.method, u.args, u.reply, opts...)
	received := time.Now()
	u.c.session.learn(header, sent, received)
	u.c.session.learn(trailer, sent, received)
	if err == nil {
		return nil, false
	}
	return u.judge(ctx, attempt, l, err)
}

// judge decides what an attempt's error means.
func (u *unary) judge(ctx, attempt context.Context, l *link, err error) (error, bool) {
	answered, kind := hasDetail(err), errs.KindOf(err)
	err = errs.FromStatus(err)
	// A node that is cut short by our deadline, or by its own end, may say
	// so itself.
	cut := !answered || kind == errs.Deadline || kind == errs.Canceled
	switch {
	case cut && ctx.Err() != nil:
		u.lost = l.addr
		return err, true
	case cut && (attempt.Err() != nil || kind == errs.Deadline):
		u.lost = l.addr
		u.c.fail(l, "no answer in time")
		return err, true
	case cut && (kind == errs.Unavailable || kind == errs.Canceled):
		u.lost = l.addr
		u.c.fail(l, err.Error())
		return err, true
	case kind == errs.Unavailable:
		u.refusal = err
		u.c.fail(l, err.Error())
		return err, true
	case kind == errs.OutcomeUnknown && answered && !u.tooOld():
		// The node gave up waiting: under the same id another one finds out.
		u.lost = l.addr
		u.c.fail(l, err.Error())
		return err, true
	case u.clockWasWrong(kind):
		u.corrected = true
		u.id = ids.At(u.c.session.now())
		return err, true
	default:
		return err, false
	}
}

// tooOld says that the servers do not remember this request any more.
func (u *unary) tooOld() bool {
	born, err := ids.Time(u.id)
	return err != nil || u.c.session.now().Sub(born) > dedupeWindow
}

// clockWasWrong says that the servers refused the request id for its birth
// time alone, so that the call can be made once more under a better one.
func (u *unary) clockWasWrong(kind errs.Kind) bool {
	if u.ownID || u.corrected || u.lost != "" {
		return false
	}
	born, err := ids.Time(u.id)
	if err != nil {
		return false
	}
	off := u.c.session.now().Sub(born)
	return kind == errs.OutcomeUnknown && off > dedupeWindow ||
		kind == errs.Invalid && off < -dedupeWindow/2
}

// giveUp is the error of a call that ran out of time; err is the last that
// an attempt met.
func (u *unary) giveUp(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return errs.New(errs.Canceled, "the call was cancelled: %w", err)
	case u.lost != "" && !readOnly(u.method):
		return errs.New(errs.OutcomeUnknown, "%s did not answer, so the call may or may not have been done; "+
			"read before trying again (%s)", u.lost, u.c.book.summary())
	case u.refusal != nil:
		return errs.New(errs.Unavailable, "%w", u.refusal)
	default:
		return errs.New(errs.Unavailable, "no server could do the call: %s", u.c.book.summary())
	}
}

// readOnly says that the method changes nothing, as its policy declares.
func readOnly(method string) bool {
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", "."))
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return false
	}
	p, _ := proto.GetExtension(d.Options(), policypb.E_Policy).(*policypb.Policy)
	return p.GetReadOnly()
}

// hasDetail says that a server's own code answered, not the transport.
func hasDetail(err error) bool {
	for _, d := range status.Convert(err).Details() {
		if _, ok := d.(*errpb.Error); ok {
			return true
		}
	}
	return false
}
