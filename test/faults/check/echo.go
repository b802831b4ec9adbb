package check

import "fmt"

// How what was sent through an exec session came to an end.
const (
	Same   = "same"   // it came back unchanged
	Over   = "over"   // the session is over, and said so
	Wrong  = "wrong"  // something else came back
	Silent = "silent" // neither came back, nor did the session end
)

// Echo is one line that was sent through an exec session.
type Echo struct {
	Session int    `json:"session"`
	Call    int64  `json:"call"` // ns
	Return  int64  `json:"return"`
	Size    int    `json:"size"` // bytes sent
	End     string `json:"end"`
	Text    string `json:"text,omitempty"` // what came back, or why the session is over
}

// Echoes checks that every line came back unchanged or its session reported its
// end, with a reason. No session may be silent.
func Echoes(history []Echo) *Verdict {
	v := verdictOf("exec", history)
	n := map[string]int{}
	sessions := map[int]bool{}
	for _, e := range history {
		n[e.End]++
		sessions[e.Session] = true
		where := fmt.Sprintf("session %d, %d bytes sent at %s s", e.Session, e.Size, at(e.Call))
		switch e.End {
		case Same:
		case Over:
			if e.Text == "" {
				v.violated("%s: the session ended at %s s without a word", where, at(e.Return))
			}
		case Wrong:
			v.violated("%s: something else came back: %s", where, e.Text)
		default:
			v.violated("%s: neither came back until %s s, nor did the session end", where, at(e.Return))
		}
	}
	if n[Same] == 0 {
		v.violated("nothing ever came back")
	}
	v.Summary = fmt.Sprintf("%d lines came back through %d sessions, %d of which ended early and said so", n[Same], len(sessions), n[Over])
	return v
}
