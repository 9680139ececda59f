package ping

import (
	"fmt"
	"io"
	"strings"

	"xl2tpd-keepalive/internal/clamp"
	"xl2tpd-keepalive/internal/doctor"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/probe"
)

// MTUText writes what was measured, and the finding.
func MTUText(w io.Writer, t *status.Tunnel, m doctor.MTU, finding doctor.Finding, colours bool, lang *message.Language) error {
	var b strings.Builder
	link := status.Printable(t.Link.Name)
	fmt.Fprintln(&b, lang.Sprintf("inner: %s claims %d bytes; %s", link, m.Inner.Claimed, passes(m.Inner)))
	if m.Outer == nil {
		fmt.Fprintln(&b, lang.Text("outer: not known; the LNS answers no echo request outside the tunnel"))
	} else {
		fmt.Fprintln(&b, lang.Sprintf("outer: the device to %v claims %d bytes; %s", t.Peer, m.Outer.Claimed, passes(*m.Outer)))
	}
	if add := m.Overhead(); add > 0 {
		fmt.Fprintln(&b, lang.Sprintf("IPsec and L2TP need %d bytes of each packet", add))
	}
	fmt.Fprintln(&b, lang.Sprintf("forwarded TCP: %s", clamped(m)))
	if err := doctor.Text(&b, []doctor.Finding{finding}, colours, lang); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// passes says what passes, and what becomes of larger packets.
func passes(m probe.PathMTU) message.Text {
	switch {
	case m.Passes == 0:
		return "no echo request has a reply"
	case m.Limited() && m.Told:
		return message.Sprintf(`%d pass, larger ones are refused (ICMP "fragmentation needed", or the route)`, m.Passes)
	case m.Limited():
		return message.Sprintf("%d pass, larger ones are lost without a word", m.Passes)
	}
	return message.Sprintf("%d pass", m.Passes)
}

// clamped says what happens to the TCP connections of other hosts.
func clamped(m doctor.MTU) message.Text {
	switch {
	case !m.Forwards:
		return "none, this host forwards no packets into the tunnel"
	case m.ClampErr != nil:
		return message.Sprintf("not known whether it is clamped: %v", m.ClampErr)
	case len(m.Clamps) == 0:
		return "not clamped, there is no rule for it"
	}
	var all []message.Text
	for _, r := range m.Clamps {
		all = append(all, r.Text())
	}
	return message.Sprintf("clamped %s", message.Join(all, "%s; %s"))
}

// MTUResult is what --mtu --json prints.
type MTUResult struct {
	Name     string         `json:"name"`
	Instance string         `json:"instance,omitempty"`
	Link     string         `json:"link"`
	Inner    probe.PathMTU  `json:"inner"`
	Outer    *probe.PathMTU `json:"outer"`              // null: the LNS answers no echo request outside the tunnel
	Overhead int            `json:"overhead,omitempty"` // bytes that IPsec and L2TP need of each packet
	Forwards bool           `json:"forwards"`
	Clamps   []clamp.Rule   `json:"clamps"`
	Finding  doctor.Finding `json:"finding"`
}

// NewMTUResult returns what was measured, and the finding, for programs.
func NewMTUResult(t *status.Tunnel, m doctor.MTU, finding doctor.Finding) MTUResult {
	return MTUResult{
		Name: t.Name, Instance: t.Instance, Link: t.Link.Name, Inner: m.Inner, Outer: m.Outer,
		Overhead: m.Overhead(), Forwards: m.Forwards, Clamps: m.Clamps, Finding: finding,
	}
}
