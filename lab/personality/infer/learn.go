package infer

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/lab/lns/l2tp"
	"xl2tpd-keepalive/lab/personality/capture"
)

// Finding is what is known of one key.
type Finding struct {
	Key   string
	Value string // as JSON
	Known bool
	Note  string // what was seen, or why it cannot be known
}

// Personality is what a capture shows of a router.
type Personality struct {
	Behaviour l2tp.Behaviour
	Findings  []Finding // of every key, in the order of the fields
	Remarks   []string  // what no key says
}

// Learn finds the personality that explains connections with one router. Others of the same file show how many tunnels
// were up at a time.
func Learn(file []*capture.Connection, of ...*capture.Connection) (*Personality, error) {
	var all []*exchange
	for _, c := range of {
		x, err := newExchange(c)
		if err != nil {
			return nil, err
		}
		all = append(all, x)
	}
	e := measure(all)
	s := &search{all: all, base: l2tp.Defaults(), choices: e.choices(), results: map[string]result{}}
	l := &learner{search: s, estimates: e, file: file, findings: map[string]Finding{}}
	l.fromSCCRP()
	l.maxClients()
	l.best = s.find()
	l.seen = l.differences(l.best)
	l.tryOptions()
	return l.result()
}

type learner struct {
	*search
	estimates *estimates
	file      []*capture.Connection
	findings  map[string]Finding
	best      state
	seen      []string // what even the best replay does otherwise
}

func (l *learner) note(key string, known bool, format string, args ...any) {
	l.findings[key] = Finding{Key: key, Known: known, Note: fmt.Sprintf(format, args...)}
}

// fromSCCRP takes what the router says of itself.
func (l *learner) fromSCCRP() {
	for _, x := range l.all {
		for _, m := range x.out {
			if m.Type() != l2tp.SCCRP {
				continue
			}
			where := x.where(m)
			if name, ok := m.Find(l2tp.AVPHostName); ok && len(name) > 0 {
				l.base.HostName = string(name)
				l.note("host_name", true, "%s", where)
			}
			vendor, ok := m.Find(l2tp.AVPVendorName)
			l.base.Vendor = string(vendor)
			l.note("vendor", true, "%s", where)
			if !ok {
				l.note("vendor", true, "%s has none", where)
			}
			l.note("receive_window", true, "%s does not say it, so it is 4 (RFC 2661 §4.4.3)", where)
			if w, ok := m.Find16(l2tp.AVPReceiveWindow); ok && w > 0 {
				l.base.ReceiveWindow = w
				l.note("receive_window", true, "%s", where)
			}
			return
		}
	}
	for _, key := range []string{"host_name", "vendor", "receive_window"} {
		l.note(key, false, "the capture has no SCCRP; the default stays")
	}
}

// maxClients counts the tunnels that were up when one more was refused.
func (l *learner) maxClients() {
	l.note("max_clients", false, "no tunnel was refused for it; the default stays")
	for _, x := range l.all {
		if x.refusal != l2tp.ReasonMaxClients {
			continue
		}
		up := 0
		for _, c := range l.file {
			if c.Router.Addr() == x.Router.Addr() && upAt(c, x.begin) {
				up++
			}
		}
		where := x.where(x.sent[0].first())
		if up == 0 {
			l.note("max_clients", false, "%s refuses the tunnel, but the capture has no other one that was up; the default stays", where)
			continue
		}
		l.base.MaxClients = up
		l.note("max_clients", true, "%s refuses one more tunnel than the %d that were up in this capture", where, up)
	}
}

func upAt(c *capture.Connection, at time.Time) bool {
	up := false
	for _, p := range c.Packets {
		if p.At.After(at) {
			break
		}
		switch p.Type() {
		case l2tp.SCCCN:
			up = true
		case l2tp.StopCCN:
			up = false
		}
	}
	return up
}

// differences describes where a replay and the captures are not the same.
func (l *learner) differences(st state) (list []string) {
	b := l.behaviour(st)
	for _, x := range l.all {
		for _, d := range x.align(x.replay(b)).differences() {
			list = append(list, x.describe(d))
		}
	}
	return list
}

func (x *exchange) describe(d difference) string {
	switch {
	case d.replayed == nil:
		return x.where(*d.seen) + " would not have come"
	case d.seen == nil:
		return fmt.Sprintf("there would have been a %v at %s", *d.replayed, x.since(d.replayed.at))
	case d.seen.Nr != d.replayed.Nr:
		return fmt.Sprintf("%s would have had Nr %d", x.where(*d.seen), d.replayed.Nr)
	}
	return fmt.Sprintf("%s would have come at %s", x.where(*d.seen), x.since(d.replayed.at))
}

// tryOptions tries all other options of each key. One that explains the captures as well, with other keys changed too if
// that helps, cannot be told from the one chosen.
func (l *learner) tryOptions() {
	// What even the best replay does not explain may be chance, so an option must be worse by more than that.
	most := l.cost(l.best)
	if most > 0 {
		most = 2*most + 1
	}
	for i, c := range l.choices {
		for o := range c.options {
			if other := l.bestWith(i, byte(o)); l.cost(other) > most {
				l.explain(other, i)
			}
		}
	}
	for i, c := range l.choices {
		var possible, excluded []string
		for o := range c.options {
			other := l.bestWith(i, byte(o))
			if l.behaviour(other) == l.behaviour(l.best) {
				continue
			}
			value := l.value(c.key, other)
			if !l.fits(i, byte(o), value, most) {
				excluded = append(excluded, fmt.Sprintf("with %s, %s", value, l.evidence(other)))
				continue
			}
			possible = append(possible, value)
		}
		l.conclude(c.key, possible, excluded)
	}
}

// bestWith is the best state with another option of a choice.
func (l *learner) bestWith(i int, option byte) state {
	other := slices.Clone(l.best)
	other[i] = option
	return other
}

// fits reports whether any state that has been tried has this option with this value, and no higher cost.
func (l *learner) fits(i int, option byte, value string, most float64) bool {
	for text, r := range l.results {
		if st := state(text); st[i] == option && r.cost <= most && l.value(l.choices[i].key, st) == value {
			return true
		}
	}
	return false
}

// explained reports whether the best replay does not differ in more than a tenth of the packets.
func (l *learner) explained() bool {
	return l.cost(l.best) <= float64(l.messages())/10
}

// messages counts what the router sent.
func (l *learner) messages() (n int) {
	for _, x := range l.all {
		n += len(x.out)
	}
	return n
}

// evidence is the first difference that a state makes.
func (l *learner) evidence(st state) string {
	all := l.differences(st)
	for _, d := range all {
		if !slices.Contains(l.seen, d) {
			return d
		}
	}
	return "nearly all packets would have been others"
}

// conclude writes what is known of a key that replays decide.
func (l *learner) conclude(key string, possible, excluded []string) {
	value := l.value(key, l.best)
	var parts []string
	known := len(possible) == 0 && len(excluded) > 0
	if m, ok := l.measured(key); ok {
		parts = append(parts, m.note)
		known = m.known && len(possible) == 0
	}
	known = known && l.explained()
	if len(excluded) > 0 {
		parts = append(parts, strings.Join(excluded, "; "))
	}
	if len(possible) > 0 {
		parts = append(parts, fmt.Sprintf("%s and %s all fit", value, strings.Join(possible, " and ")))
		known = false
	}
	if len(parts) == 0 {
		parts = append(parts, "nothing in the capture depends on it")
	}
	if !known && value == values(l2tp.Defaults())[key] {
		parts = append(parts, "the default stays")
	} else if !known {
		parts = append(parts, "this value fits")
	}
	l.note(key, known, "%s", strings.Join(parts, "; "))
}

// measured is the estimate behind a key.
func (l *learner) measured(key string) (estimate, bool) {
	e := l.estimates
	pace := e.paces[readingOf(l.behaviour(l.best))]
	switch key {
	case "keepalive_interval":
		return estimate{known: len(e.keepalive) > 0, note: e.keepaliveNote}, true
	case "keepalive_tries":
		return pace.tries, int64(l.behaviour(l.best).KeepaliveTries) == pace.tries.value
	case "idle":
		return e.idle, int64(l.behaviour(l.best).Idle) == e.idle.value
	case "retransmit_first":
		return pace.first, true
	case "retransmit_cap":
		return pace.cap, true
	case "retransmit_tries":
		return pace.sends, true
	case "hello":
		return estimate{known: true, note: l.hellos()}, true
	case "ack_delay", "answer_delay":
		b := l.behaviour(l.best)
		if both := b.AckDelay + b.AnswerDelay; both > 0 {
			note := fmt.Sprintf("acknowledgements came %v late once the call was up", time.Duration(both))
			return estimate{known: b.AckDelay == 0 || b.AnswerDelay == 0, note: note}, true
		}
	case "deaf_from":
		if e.deafUntil > 0 {
			return estimate{known: true, note: e.deafNote + "; the time is the middle"}, true
		}
	}
	return estimate{}, false
}

// hellos says which Hellos of the client the router got.
func (l *learner) hellos() string {
	var list []int
	kept := 0
	for _, x := range l.all {
		kept += x.Held
		for _, in := range x.in {
			if in.kind == packetCame && in.packet.Type() == l2tp.Hello {
				list = append(list, in.number)
			}
		}
	}
	switch {
	case len(list) > 0:
		return "the client's Hellos are packets " + numbers(list)
	case kept > 0:
		return fmt.Sprintf("the Hello guard kept %d Hellos of xl2tpd from the router: take the capture with `hello guard = off`", kept)
	}
	return "the client sent no Hello: let the capture last for more than a minute"
}

// value is a key's value as JSON.
func (l *learner) value(key string, st state) string { return values(l.behaviour(st))[key] }

// values are all keys of a personality with their values as JSON.
func values(b l2tp.Behaviour) map[string]string {
	all := map[string]string{}
	v := reflect.ValueOf(b)
	for i := range v.NumField() {
		text, err := json.Marshal(v.Field(i).Interface())
		if err != nil {
			text = []byte("null") // all fields are plain values
		}
		all[v.Type().Field(i).Tag.Get("json")] = string(text)
	}
	return all
}

func (l *learner) result() (*Personality, error) {
	p := &Personality{Behaviour: l.behaviour(l.best), Remarks: l.remarks()}
	deaf := l.findings["deaf_from"]
	if l.estimates.deafUntil == 0 {
		deaf = Finding{Note: "no time was seen in which the router was deaf and another in which it was not; the default stays"}
	}
	l.note("deaf_from", deaf.Known, "%s", deaf.Note)
	l.note("deaf_until", deaf.Known, "%s", deaf.Note)
	l.note("idle_look", false, "only how late the idle timer closes many tunnels shows it; the default stays")
	value := values(p.Behaviour)
	for i := range reflect.TypeFor[l2tp.Behaviour]().NumField() {
		key := reflect.TypeFor[l2tp.Behaviour]().Field(i).Tag.Get("json")
		f := l.findings[key]
		f.Key, f.Value = key, value[key]
		p.Findings = append(p.Findings, f)
	}
	return p, p.Behaviour.Check()
}

// remarks are what the copy does otherwise than the router did.
func (l *learner) remarks() (list []string) {
	const fed = "Fed with what the client sent, the copy "
	if len(l.seen) == 0 {
		return []string{fmt.Sprintf(fed+"sends all %d control packets of the router, with the same numbers.", l.messages())}
	}
	list = append(list, fmt.Sprintf(fed+"does not send all %d control packets of the router in the same way. With it:", l.messages()))
	const most = 10
	for i, d := range l.seen {
		if i == most {
			return append(list, fmt.Sprintf("and %d more", len(l.seen)-most))
		}
		list = append(list, d)
	}
	return list
}
