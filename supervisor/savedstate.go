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

// SavedState is what the next brain is to be told of the LACs: what the other daemons do
// not tell.
type SavedState struct {
	Xl2tpd procfs.ID            // of the first instance
	Others map[string]procfs.ID `json:",omitempty"` // of the other ones, by id
	LACs   []SavedLAC           // by instance and name
}

// SavedLAC is a LAC in a Memory.
type SavedLAC struct {
	Instance string `json:",omitempty"` // of its xl2tpd, see instanceID
	LAC      []byte // its name, which may be in any encoding
	LACState
}

// LACState is how it was about a LAC: its tunnel was up, or why it was not: it was hung up on
// this host, or was being brought back.
type LACState struct {
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

// Restore tells a brain what the last one knew. It is to be called before Step.
func (core *Core) Restore(m SavedState, now time.Time) {
	core.processes[""] = m.Xl2tpd
	maps.Copy(core.processes, m.Others)
	for _, k := range m.LACs {
		l := core.lac(name{"lac", string(k.LAC), k.Instance})
		l.saved, l.savedAs = true, k.LACState
		for _, at := range []*time.Time{&k.Attempt, &k.Silent, &k.Half} {
			if at.After(now) { // the clock has been set back
				*at = now
			}
		}
		if k.HungUp {
			c := &end{sure: !k.Unsure, operator: !k.Unsure}
			if l.mayHave = k.Perhaps; k.Perhaps {
				l.possibleEnd = c
			} else {
				l.lastEnd = c
			}
			continue
		}
		if l.mayHave = k.Perhaps; k.Perhaps {
			continue
		}
		if k.Up {
			l.seenBefore = true
			continue
		}
		l.seen, l.idle, l.attempt, l.silent, l.planned = true, k.Idle, k.Attempt, k.Silent, k.Planned
		l.ike, l.ikeTo = k.IKE, k.IKETo
		if !k.Silent.IsZero() || !k.Half.IsZero() {
			l.lastEnd = &end{Close: status.Close{Time: k.Half}, sure: true, failed: true, buried: k.Buried, half: !k.Half.IsZero()}
		}
	}
}

// SavedState is what the next brain is to be told, and whether that is something else than
// Memory has returned last.
func (core *Core) SavedState() (m SavedState, news bool) {
	if !core.dirty {
		return SavedState{}, false
	}
	core.dirty = false
	m.Xl2tpd = core.processes[""]
	if len(core.processes) > 1 {
		m.Others = maps.Clone(core.processes)
		delete(m.Others, "")
	}
	for _, l := range core.lacs {
		if _, is := core.processes[l.instance]; l.saved && is {
			m.LACs = append(m.LACs, SavedLAC{l.instance, []byte(l.name), l.savedAs})
		}
	}
	slices.SortFunc(m.LACs, func(x, y SavedLAC) int {
		return cmp.Or(strings.Compare(x.Instance, y.Instance), bytes.Compare(x.LAC, y.LAC))
	})
	return m, true
}

// save notes what the next brain is to be told of a LAC.
func (core *Core) save(l *lac) {
	var fate LACState
	kept := true
	switch {
	case l.mayBeHungUp():
		c := l.lastEnd
		if fate.Perhaps = !c.mayBeHangUp(); fate.Perhaps {
			c = l.possibleEnd
		}
		fate.HungUp, fate.Unsure = true, !c.operator
	case l.seen && !l.progress.since.IsZero():
		fate = LACState{Idle: l.idle, Attempt: l.attempt, Silent: l.silent, Planned: l.planned, IKE: l.ike, IKETo: l.ikeTo}
		if l.lastEnd != nil {
			fate.Buried = l.lastEnd.buried
			if l.lastEnd.half {
				fate.Half = l.lastEnd.Time
			}
		}
	case l.seen:
		fate.Up = true
	default:
		fate.Perhaps = l.mayHave
		kept = l.mayHave
	}
	if kept != l.saved || fate != l.savedAs {
		l.saved, l.savedAs, core.dirty = kept, fate, true
	}
}
