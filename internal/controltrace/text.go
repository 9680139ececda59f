package controltrace

import (
	"fmt"
	"strconv"
	"strings"

	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// typeNames are the message types of RFC 2661 §3.2.
var typeNames = [...]string{
	1: "SCCRQ", 2: "SCCRP", 3: "SCCCN", 4: "StopCCN", 6: "Hello", 7: "OCRQ", 8: "OCRP", 9: "OCCN", 10: "ICRQ", 11: "ICRP",
	12: "ICCN", 14: "CDN", 15: "WEN", 16: "SLI",
}

// TypeName returns the name of the message's type.
func (r *Record) TypeName() string {
	m := r.message()
	switch {
	case m.ZLB():
		return "ZLB"
	case int(m.Type) < len(typeNames) && typeNames[m.Type] != "":
		return typeNames[m.Type]
	}
	return fmt.Sprintf("type %d", m.Type)
}

var verdicts = [...]string{
	Seen: "", Passed: "passed", Renumbered: "renumbered", Held: "held", Dropped: "dropped", Sent: "sent by the guard",
	Asked: "sent by the guard to get an answer",
}

// Did returns what became of the message, in a few words; empty: nobody decided about it.
func (r *Record) Did() string {
	if int(r.Verdict) >= len(verdicts) {
		return "unknown verdict" // of another version
	}
	did := verdicts[r.Verdict]
	if !r.byGuard() && r.acknowledged() {
		did += ", acknowledged by the guard"
	}
	return did
}

// acknowledged reports whether the guard has acknowledged the message in the other end's name.
func (r *Record) acknowledged() bool {
	switch r.Why {
	case translator.HelloAcked, translator.HelloAckedForPeer, translator.HelloNotCounted:
		return r.ToPeer
	}
	return false
}

// why returns the guard's reason; empty: there is none, or it says nothing.
func (r *Record) why() string {
	if r.Why == translator.Nothing || r.Why > translator.StopSent {
		return ""
	}
	return r.Why.String()
}

// way returns who sends the message to whom.
func (r *Record) way() string {
	from, to := "peer", "xl2tpd"
	if r.ToPeer {
		from, to = to, from
	}
	if r.byGuard() {
		from = "guard"
	}
	return from + " → " + to
}

// numbers returns Ns and Nr, where they differ as the sender has them and as the receiver gets them.
func (r *Record) numbers() string {
	from, to := r.sender(), r.receiver()
	if !from.Sees {
		from = to
	}
	if !to.Sees {
		to = from
	}
	return "Ns " + pair(from.Ns, to.Ns) + " Nr " + pair(from.Nr, to.Nr)
}

func pair(from, to uint16) string {
	if from == to {
		return strconv.Itoa(int(from))
	}
	return fmt.Sprintf("%d→%d", from, to)
}

// result returns why the message closes a tunnel or call; empty: it does not say.
func result(a l2tp.Attributes) string {
	if a.Result == 0 {
		return ""
	}
	code := fmt.Sprintf("result %d", a.Result)
	if a.Error != 0 {
		code += fmt.Sprintf(" error %d", a.Error)
	}
	if a.Text != "" {
		code += " " + strconv.QuoteToASCII(a.Text)
	}
	return code
}

// attributes returns the AVPs that matter.
func (r *Record) attributes() (all []string) {
	a := l2tp.ParseAttributes(r.Payload)
	if code := result(a); code != "" {
		all = append(all, code)
	}
	if a.Host != "" {
		all = append(all, "host "+strconv.QuoteToASCII(a.Host))
	}
	if a.Vendor != "" {
		all = append(all, "vendor "+strconv.QuoteToASCII(a.Vendor))
	}
	for _, n := range []struct {
		name  string
		value uint16
	}{{"window", a.Window}, {"tunnel id", a.AssignedTunnel}, {"session id", a.AssignedSession}} {
		if n.value != 0 {
			all = append(all, fmt.Sprintf("%s %d", n.name, n.value))
		}
	}
	return all
}

// Line returns the message as one line of text. name is the tunnel's; empty: not known.
func Line(c l2tp.Connection, name string, r *Record) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s %s %d/%d  %-15s %-8s %s", r.Time.Local().Format("15:04:05.000"),
		strings.TrimSpace(name+" "+c.Peer.Addr().String()), c.LocalID, c.PeerID, r.way(), r.TypeName(), r.numbers())
	if session := r.message().Session; session != 0 {
		fmt.Fprintf(&s, " session %d", session)
	}
	if all := r.attributes(); all != nil {
		s.WriteString(" " + strings.Join(all, ", "))
	}
	if says := r.Remark(); says != "" {
		s.WriteString(" [" + says + "]")
	}
	return s.String()
}

// Remark returns what is to say about the message beside what it contains; empty: nothing.
func (r *Record) Remark() string {
	did := r.Did()
	if why := r.why(); why != "" {
		did = strings.TrimPrefix(did+": "+why, ": ")
	}
	if r.Again {
		did = strings.TrimSuffix("retransmission, "+did, ", ")
	}
	if len(r.Payload) < r.Length {
		did += fmt.Sprintf(" (only %d of %d bytes kept)", len(r.Payload), r.Length)
	}
	return did
}
