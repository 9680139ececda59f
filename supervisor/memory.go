package supervisor

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/status"
)

// Memory is what the next brain is to be told of the LACs: what the other daemons do
// not tell.
type Memory struct {
	Xl2tpd procfs.ID            // of the first instance
	Others map[string]procfs.ID `json:",omitempty"` // of the other ones, by id
	LACs   []Kept               // by instance and name
}

// Kept is a LAC in a Memory.
type Kept struct {
	Instance string `json:",omitempty"` // of its xl2tpd, see instanceID
	LAC      []byte // its name, which may be in any encoding
	Fate
}

// Fate is how it was about a LAC: its tunnel was up, or why it was not: it was hung up on
// this host, or was being brought back.
type Fate struct {
	Up      bool `json:",omitempty"` // it had a tunnel: of interest if xl2tpd is another by then
	HungUp  bool `json:",omitempty"`
	Perhaps bool `json:",omitempty"` // one of several, and which is not known; or that it had a tunnel
	Unsure  bool `json:",omitempty"` // nobody has said so, or anything else

	Idle       bool      `json:",omitempty"` // xl2tpd does not redial it
	Attempt    time.Time `json:",omitzero"`  // since when xl2tpd dials
	Silent     time.Time `json:",omitzero"`  // when its last tunnel ended, if it was silent
	Buried     bool      `json:",omitempty"` // and xl2tpd does not wait for its peer's answer
	Planned    time.Time `json:",omitzero"`  // until then xl2tpd may redial it, though it was hung up
	Half       time.Time `json:",omitzero"`  // when xl2tpd closed its last call, and not the tunnel
	IKE, IKETo string    `json:",omitempty"` // the connection it came through, and to which LNS
}

// Remember tells a brain what the last one knew. It is to be called before Step.
func (b *Brain) Remember(m Memory, now time.Time) {
	b.daemons[""] = m.Xl2tpd
	maps.Copy(b.daemons, m.Others)
	for _, k := range m.LACs {
		l := b.lac(name{"lac", string(k.LAC), k.Instance})
		l.kept, l.fate = true, k.Fate
		for _, at := range []*time.Time{&k.Attempt, &k.Silent, &k.Half} {
			if at.After(now) { // the clock has been set back
				*at = now
			}
		}
		if k.HungUp {
			c := &closing{sure: !k.Unsure, operator: !k.Unsure}
			if l.mayHave = k.Perhaps; k.Perhaps {
				l.perhaps = c
			} else {
				l.last = c
			}
			continue
		}
		if l.mayHave = k.Perhaps; k.Perhaps {
			continue
		}
		if k.Up {
			l.was = true
			continue
		}
		l.seen, l.idle, l.attempt, l.silent, l.planned = true, k.Idle, k.Attempt, k.Silent, k.Planned
		l.ike, l.ikeTo = k.IKE, k.IKETo
		if !k.Silent.IsZero() || !k.Half.IsZero() {
			l.last = &closing{Close: status.Close{Time: k.Half}, sure: true, failed: true, buried: k.Buried, half: !k.Half.IsZero()}
		}
	}
}

// Memory is what the next brain is to be told, and whether that is something else than
// Memory has returned last.
func (b *Brain) Memory() (m Memory, news bool) {
	if !b.learnt {
		return Memory{}, false
	}
	b.learnt = false
	m.Xl2tpd = b.daemons[""]
	if len(b.daemons) > 1 {
		m.Others = maps.Clone(b.daemons)
		delete(m.Others, "")
	}
	for _, l := range b.lacs {
		if _, is := b.daemons[l.instance]; l.kept && is {
			m.LACs = append(m.LACs, Kept{l.instance, []byte(l.name), l.fate})
		}
	}
	slices.SortFunc(m.LACs, func(x, y Kept) int {
		return cmp.Or(strings.Compare(x.Instance, y.Instance), bytes.Compare(x.LAC, y.LAC))
	})
	return m, true
}

// keep notes what the next brain is to be told of a LAC.
func (b *Brain) keep(l *lac) {
	var fate Fate
	kept := true
	switch {
	case l.leftDown():
		c := l.last
		if fate.Perhaps = !c.hangUp(); fate.Perhaps {
			c = l.perhaps
		}
		fate.HungUp, fate.Unsure = true, !c.operator
	case l.seen && !l.ladder.since.IsZero():
		fate = Fate{Idle: l.idle, Attempt: l.attempt, Silent: l.silent, Planned: l.planned, IKE: l.ike, IKETo: l.ikeTo}
		if l.last != nil {
			fate.Buried = l.last.buried
			if l.last.half {
				fate.Half = l.last.Time
			}
		}
	case l.seen:
		fate.Up = true
	default:
		fate.Perhaps = l.mayHave
		kept = l.mayHave
	}
	if kept != l.kept || fate != l.fate {
		l.kept, l.fate, b.learnt = kept, fate, true
	}
}
