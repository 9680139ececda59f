package supervisor

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/supervisor/recovery/policy"
)

// SavedState is what the next process of this service needs to know about the LACs, and can't learn from the other
// daemons.
type SavedState struct {
	Xl2tpd procfs.ID            // of the first instance
	Others map[string]procfs.ID `json:",omitempty"` // of the other ones, by id
	LACs   []SavedLAC           // by instance and name
	// Connections are LACs that had no tunnel, of which only strongSwan's connection is known. An earlier version would
	// take them for LACs that are being recovered, so they are not among LACs.
	Connections []SavedLAC `json:",omitempty"`
}

// SavedLAC is a LAC in a SavedState.
type SavedLAC struct {
	Instance string `json:",omitempty"` // of its xl2tpd, see instanceID
	LAC      []byte // its name, in any encoding
	LACState
}

// LACState is the saved state of a LAC: its tunnel was up, or it was hung up on this host, or it was being recovered. A
// file may be of another version, so the JSON names stay as they were.
type LACState struct {
	Up      bool `json:",omitempty"` // it had a tunnel; needed if xl2tpd was replaced meanwhile
	HungUp  bool `json:",omitempty"`
	Perhaps bool `json:",omitempty"` // with HungUp: it was this LAC or another one; without: it may have had a tunnel
	Unsure  bool `json:",omitempty"` // the end had no reason, so it may have been a hang-up

	Idle       bool      `json:",omitempty"`       // xl2tpd does not redial it
	Attempt    time.Time `json:",omitzero"`        // since when xl2tpd dials
	Over       time.Time `json:",omitzero"`        // when xl2tpd has finished with its last tunnel or attempt
	Silent     time.Time `json:",omitzero"`        // when its last tunnel ended, if the peer was silent
	StopAcked  bool      `json:"Buried,omitempty"` // and xl2tpd does not wait for the peer's answer
	Planned    time.Time `json:",omitzero"`        // until then xl2tpd may redial it, although it was hung up
	HangUp     time.Time `json:",omitzero"`        // when recovery began the hang-up that it has not ended yet
	CallClosed time.Time `json:"Half,omitzero"`    // when xl2tpd closed its last call, and not the tunnel
	IKE, IKETo string    `json:",omitempty"`       // strongSwan's connection for its LNS, and that LNS
	None       bool      `json:"-"`                // it had no tunnel
}

// Restore takes what the last process has saved. It must be called before Step.
func (core *Core) Restore(m SavedState, now time.Time) {
	core.daemons.restore(m)
	core.lacs.restore(m, now)
}

// SavedState returns the state to save. news is false if it has not changed since the last call.
func (core *Core) SavedState() (m SavedState, news bool) {
	if !core.lacs.dirty && !core.daemons.dirty {
		return SavedState{}, false
	}
	core.daemons.saveTo(&m)
	core.lacs.saveTo(&m)
	return m, true
}

func (ds *daemons) restore(m SavedState) {
	ds.processes[""] = m.Xl2tpd
	maps.Copy(ds.processes, m.Others)
}

func (ds *daemons) saveTo(m *SavedState) {
	ds.dirty = false
	m.Xl2tpd = ds.processes[""]
	if len(ds.processes) > 1 {
		m.Others = maps.Clone(ds.processes)
		delete(m.Others, "")
	}
}

func (ls *lacTable) restore(m SavedState, now time.Time) {
	for _, k := range m.LACs {
		ls.ensureLAC(k.name()).restore(k.LACState, now)
	}
	for _, k := range m.Connections {
		k.None = true
		ls.ensureLAC(k.name()).restore(k.LACState, now)
	}
}

func (k *SavedLAC) name() name { return name{"lac", string(k.LAC), k.Instance} }

func (l *lac) restore(k LACState, now time.Time) {
	saved := k
	l.savedAs = &saved
	for _, at := range []*time.Time{&k.Attempt, &k.Silent, &k.HangUp, &k.CallClosed} {
		if at.After(now) { // the clock has been set back
			*at = now
		}
	}
	if latest := now.Add(closingTime); k.Over.After(latest) {
		k.Over = latest
	}
	l.ike, l.ikeTo = k.IKE, k.IKETo
	switch {
	case k.None:
	case k.HungUp && k.Unsure && k.Perhaps:
		l.possibleEnds, l.had = endList{{}}, mayHaveHad
	case k.HungUp && k.Unsure:
		l.lastEnd, l.had = &end{}, hadOne
	case k.HungUp && k.Perhaps:
		l.possibleEnds, l.had = endList{endByOperator(helloguard.OwnedConnection{})}, mayHaveHad
	case k.HungUp:
		l.lastEnd = endByOperator(helloguard.OwnedConnection{})
	case k.Perhaps:
		l.had = mayHaveHad
	case k.Up:
		l.had, l.attemptAt = hadBefore, k.Attempt
	default: // it was being recovered
		l.had, l.notRedialled, l.attemptAt, l.silentAt, l.plannedUntil = hadOne, k.Idle, k.Attempt, k.Silent, k.Planned
		l.overAt, l.cutHangUpAt = k.Over, k.HangUp
		if !k.Silent.IsZero() || !k.CallClosed.IsZero() {
			why := helloguard.CloseReason{StopAcked: k.StopAcked, CallOnly: !k.CallClosed.IsZero()}
			l.lastEnd = &end{Ending: Ending{CloseReason: why}, Time: k.CallClosed, sure: true, failed: true}
		}
	}
}

func (ls *lacTable) saveTo(m *SavedState) {
	ls.dirty = false
	for _, l := range ls.byKey {
		_, is := ls.daemons.processes[l.instance]
		if l.savedAs == nil || !is {
			continue
		}
		list := &m.LACs
		if l.savedAs.None {
			list = &m.Connections
		}
		*list = append(*list, SavedLAC{l.instance, []byte(l.name), *l.savedAs})
	}
	slices.SortFunc(m.LACs, bySavedName)
	slices.SortFunc(m.Connections, bySavedName)
}

func bySavedName(x, y SavedLAC) int {
	return cmp.Or(strings.Compare(x.Instance, y.Instance), bytes.Compare(x.LAC, y.LAC))
}

// save updates a LAC's part of the saved state.
func (ls *lacTable) save(l *lac) {
	var state LACState
	known := true
	switch {
	case l.mayBeHungUp():
		state.HungUp, state.Perhaps = true, !l.lastEnd.mayBeHangUp()
		if state.Perhaps {
			state.Unsure = !slices.ContainsFunc(l.possibleEnds, func(c *end) bool { return c.Operator })
		} else {
			state.Unsure = !l.lastEnd.Operator
		}
	case l.had == hadOne && !l.progress.TroubleSince().IsZero():
		idle := l.notRedialled && l.missingAt.IsZero() // one that was only taken for down may be up
		state = LACState{Idle: idle, Attempt: l.attemptAt, Over: l.overAt, Silent: l.silentAt, Planned: l.plannedUntil}
		if state.HangUp = l.cutHangUpAt; l.progress.Takes(policy.StepHangUp) {
			state.HangUp = l.hangUpAt
		}
		if l.lastEnd != nil {
			state.StopAcked = l.lastEnd.StopAcked
			if l.lastEnd.CallOnly {
				state.CallClosed = l.lastEnd.Time
			}
		}
	case l.had == hadOne:
		state.Up, state.Attempt = true, l.attemptAt // of several LACs, it may be another one that is up
	case l.had == mayHaveHad:
		state.Perhaps = true
	default:
		state.None, known = true, l.ike != ""
	}
	state.IKE, state.IKETo = l.ike, l.ikeTo
	switch {
	case !known && l.savedAs != nil:
		l.savedAs, ls.dirty = nil, true
	case known && (l.savedAs == nil || *l.savedAs != state):
		latest := state
		l.savedAs, ls.dirty = &latest, true
	}
}
