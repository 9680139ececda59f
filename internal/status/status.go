package status

import (
	"cmp"
	"net/netip"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/message"
)

// NoVICI is the problem that strongSwan does not answer. The text has no reason, because the reason changes while
// strongSwan starts.
const NoVICI message.Text = "strongSwan (VICI) does not answer: the state of its SAs is not known"

// libreswan is what to know where Libreswan does IPsec.
const libreswan message.Text = "Libreswan's SAs are not watched; echo requests and the Hello guard do not need them"

// Status is the state of the service and of all tunnels at one moment. In JSON, a
// time is RFC 3339 and a duration a number of seconds.
type Status struct {
	Version  string    `json:"version"`
	Pid      int       `json:"pid"`
	Time     time.Time `json:"time"`
	Problems []Problem `json:"problems"`
	// Libreswan: it does IPsec here, so SAs are not known.
	Libreswan bool     `json:"libreswan,omitempty"`
	Tunnels   []Tunnel `json:"tunnels"`
}

// Tunnel is one tunnel, or a LAC of xl2tpd.conf that has none.
type Tunnel struct {
	Name string `json:"name"` // "lac NAME" or "lns NAME"; empty if not known
	// Instance is the xl2tpd of the tunnel: a unit, a file, or a connection of
	// NetworkManager; empty if there is only one xl2tpd.
	Instance string     `json:"instance,omitempty"`
	Peer     netip.Addr `json:"peer"` // outer address of the far end
	// Local is this end's outer address; invalid if not known.
	Local netip.Addr `json:"local,omitzero"`
	// Vendor is the far end's Vendor Name (RFC 2661 §4.4.3); empty if not known.
	Vendor string       `json:"vendor,omitempty"`
	State  string       `json:"state"`
	Since  time.Time    `json:"since,omitzero"`    // of State; zero: not known
	Doing  message.Text `json:"doing"`             // what the service is doing about it now
	ByHand bool         `json:"by_hand,omitempty"` // down until a person dials it: nothing is wrong
	// Observe: the service sends, holds and recovers nothing (keepalive = observe).
	Observe bool `json:"observe,omitempty"`

	Link  *Link  `json:"link"`  // null: none
	SA    *SA    `json:"sa"`    // null: none
	Guard *Guard `json:"guard"` // null: no control packet was seen
	Last  *Close `json:"last_close"`

	// Control is the control connection; nil: not known.
	Control *l2tp.Connection `json:"control,omitempty"`
}

// Yamaha reports whether the far end is a Yamaha router, by its Vendor Name.
func (t *Tunnel) Yamaha() bool { return strings.Contains(strings.ToLower(t.Vendor), "yamaha") }

// Title returns the tunnel's name, with its xl2tpd if there are several.
func (t *Tunnel) Title() string {
	return Printable(t.qualified(cmp.Or(t.Name, "(unknown section)")))
}

// qualified adds the tunnel's xl2tpd to its name if there are several.
func (t *Tunnel) qualified(name string) string {
	if t.Instance == "" {
		return name
	}
	return name + " (" + t.Instance + ")"
}

// Link is the tunnel's pppN.
type Link struct {
	Name   string     `json:"name"`
	Local  netip.Addr `json:"local"`
	Remote netip.Addr `json:"remote"`
	Up     time.Time  `json:"up"`

	Target   netip.Addr `json:"target"` // of the echo requests
	Echoes   Echoes     `json:"echoes"`
	Evidence Evidence   `json:"signs"`
}

// EchoTarget returns the target of the echo requests, or the far end if there are none.
func (l *Link) EchoTarget() netip.Addr {
	if l.Target.IsValid() {
		return l.Target
	}
	return l.Remote
}

// Echoes are the echo requests since the link came up.
type Echoes struct {
	Sent uint64 `json:"sent"`
	Lost uint64 `json:"lost"`
	// Recent has the latest round trips, oldest first; nil is a lost one.
	Recent []*Seconds `json:"recent"`
}

// Evidence has the latest sign of life of each kind; zero: none.
type Evidence struct {
	Reply   time.Time `json:"reply,omitzero"`   // echo reply
	Data    time.Time `json:"data,omitzero"`    // any packet out of the link
	Control time.Time `json:"control,omitzero"` // L2TP control message
}

// Last returns the latest sign and its kind, or the zero time.
func (e Evidence) Last() (at time.Time, kind message.Text) {
	at, kind = e.Reply, "echo reply"
	if e.Data.After(at) {
		at, kind = e.Data, "data"
	}
	if e.Control.After(at) {
		at, kind = e.Control, "control message"
	}
	return at, kind
}

// SA is the IKE SA that carries the tunnel.
type SA struct {
	Name  string    `json:"name"`
	State string    `json:"state"` // as strongSwan reports it: ESTABLISHED, CONNECTING, …
	Since time.Time `json:"since,omitzero"`
	NAT   bool      `json:"nat"`   // one end is behind a NAT
	Child bool      `json:"child"` // a CHILD SA is installed
	Encap bool      `json:"encap"` // ESP in UDP
}

// Guard is what the Hello guard has done for the tunnel.
type Guard struct {
	Mode     string `json:"mode"`     // auto or on
	Holding  bool   `json:"holding"`  // the tunnel needs it
	Held     uint64 `json:"held"`     // Hellos of xl2tpd acknowledged in the peer's name
	Passed   uint64 `json:"passed"`   // Hellos of xl2tpd shown to the peer
	Answered uint64 `json:"answered"` // Hellos of the peer acknowledged in xl2tpd's name
}

// Close is how the tunnel last ended.
type Close struct {
	Time   time.Time    `json:"time"`
	After  Seconds      `json:"after"` // how long it had been up
	Reason message.Text `json:"reason"`

	// Control is the control connection that the tunnel had; nil: not known.
	Control *l2tp.Connection `json:"control,omitempty"`
	// Messages are the last messages in it. The service does not put them into its answer: see AddMessages.
	Messages []controltrace.Record `json:"messages,omitempty"`
}

// texts returns where the status has texts of the service.
func (s *Status) texts() []*message.Text {
	var all []*message.Text
	for i := range s.Problems {
		all = append(all, &s.Problems[i].Text)
	}
	for i := range s.Tunnels {
		t := &s.Tunnels[i]
		all = append(all, &t.Doing)
		if t.Last != nil {
			all = append(all, &t.Last.Reason)
		}
	}
	return all
}
