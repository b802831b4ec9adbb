package hostile

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"time"

	"waypoint/protocol"
)

// bearer are the headers of a call by the holder of the cluster's first token.
func (n *nodes) bearer() []string {
	return []string{protocol.HeaderAuthorization, "Bearer " + n.Token, protocol.HeaderRanges, protocol.EncodeRanges(protocol.Current())}
}

// knownHTTP2 is a connection whose caller has shown a valid token.
func (n *nodes) knownHTTP2(t *testing.T, addr string) *raw {
	t.Helper()
	r := dialHTTP2(t, addr)
	r.send(append(frame(frameHeaders, endHeaders, 1, call(methodVersion, n.bearer()...)), frame(frameData, endStream, 1, message(0, nil))...))
	return r
}

// rapidReset opens and resets streams as fast as it can.
func rapidReset(t *testing.T, n *nodes) {
	for _, addr := range n.Addrs {
		for _, r := range []*raw{dialHTTP2(t, addr), n.knownHTTP2(t, addr)} {
			headers := call(methodConfig, n.bearer()...)
			for burst := range 40 {
				var b bytes.Buffer
				for i := range 250 {
					stream := uint32(2*(250*burst+i) + 3)
					b.Write(frame(frameHeaders, endHeaders, stream, headers))
					b.Write(frame(frameReset, 0, stream, []byte{0, 0, 0, 8}))
				}
				if !r.send(b.Bytes()) {
					break // it was shown out, or nobody reads any more
				}
			}
			defer r.Close()
		}
	}
}

// openedOnly opens calls and sends no message.
func openedOnly(t *testing.T, n *nodes) {
	opened := func(count int, more ...string) []byte {
		var b bytes.Buffer
		headers := call(methodJoin, more...)
		for i := range count {
			b.Write(frame(frameHeaders, endHeaders, uint32(2*i+3), headers))
		}
		return b.Bytes()
	}
	var guests []*raw
	for i := range 30 {
		r := dialHTTP2(t, n.Addrs[i%nodeCount])
		r.send(opened(1000, "grpc-timeout", "99999999H"))
		guests = append(guests, r)
	}
	for _, r := range guests {
		if !r.ended(patience) {
			t.Error("a stranger's connection with 1,000 open calls goes on")
			break
		}
	}
	// Somebody who is known may have more, but not any number.
	known := n.knownHTTP2(t, n.Addrs[0])
	known.send(opened(5000))
	defer known.Close()
}

// controlFloods sends frames that cost their sender nothing and want an answer.
func controlFloods(t *testing.T, n *nodes) {
	for _, one := range map[string][]byte{
		"pings":          frame(framePing, 0, 0, make([]byte, 8)),
		"settings":       frame(frameSettings, 0, 0, []byte{0, 4, 0, 1, 0, 0}),
		"empty settings": frame(frameSettings, 0, 0, nil),
		"unknown frames": frame(200, 0, 0, []byte("x")),
		"window updates": frame(8, 0, 0, []byte{0, 0, 0, 1}),
		"resets":         frame(frameReset, 0, 1, []byte{0, 0, 0, 8}),
		"empty data":     frame(frameData, 0, 1, nil),
	} {
		for _, addr := range n.Addrs {
			r := n.knownHTTP2(t, addr)
			for range 50 {
				if !r.send(bytes.Repeat(one, 1000)) {
					break
				}
			}
			defer r.Close()
		}
	}
}

// endlessHeaders sends headers that do not end, and far too many.
func endlessHeaders(t *testing.T, n *nodes) {
	for _, addr := range n.Addrs {
		r := dialHTTP2(t, addr)
		r.send(frame(frameHeaders, 0, 1, call(methodVersion)))
		filler := frame(frameContinuation, 0, 1, block("x-filler", strings.Repeat("y", 8000)))
		sent := 0
		for ; sent < 4000 && r.send(filler); sent++ {
		}
		if sent == 4000 && !r.ended(patience) {
			t.Errorf("%d MB of headers without an end are taken", sent*len(filler)>>20)
		}

		r = n.knownHTTP2(t, addr)
		large := call(methodVersion, "x-large", strings.Repeat("z", 300<<10))
		r.send(frame(frameHeaders, 0, 3, large[:16000]))
		for large = large[16000:]; len(large) > 16000; large = large[16000:] {
			r.send(frame(frameContinuation, 0, 3, large[:16000]))
		}
		r.send(frame(frameContinuation, endHeaders, 3, large))
		if kind := r.answer(3); kind == answered {
			t.Error("a call with 300 KB of headers is served")
		}
	}
}

// What comes of a call.
const (
	nothing  = "nothing"
	refused  = "refused"  // reset, or an answer of headers only
	answered = "answered" // a message came back
	cut      = "cut"      // the connection ended
)

// answer reads what comes back on a stream.
func (r *raw) answer(stream uint32) string {
	r.SetReadDeadline(time.Now().Add(patience))
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(r, head); err != nil {
			return ending(err)
		}
		body := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(r, body); err != nil {
			return ending(err)
		}
		if binary.BigEndian.Uint32(head[5:]) != stream {
			continue
		}
		switch {
		case head[3] == frameData:
			return answered
		case head[3] == frameReset, head[3] == frameHeaders && head[4]&endStream != 0:
			return refused
		}
	}
}
