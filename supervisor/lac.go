package supervisor

import (
	"net/netip"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
)

// lac is what recovery knows about one LAC of xl2tpd.conf.
type lac struct {
	instance     string // of its xl2tpd, see instanceID
	name         string
	key          string // see name.key
	progress     policy.Progress
	marked       bool // to be evaluated in the step under way
	stale        bool // the recovery step under way began before the present xl2tpd did
	had          history
	notRedialled bool      // xl2tpd has no plan to dial it
	ike          string    // strongSwan's connection for its LNS; empty: none is known
	ikeTo        string    // and that LNS, as xl2tpd.conf calls it
	inClearSince time.Time // since when its tunnel lives while charon lists no SA for it; zero: that is not so
	lacDials
	lacEnds
	lacHangUp
	groupLinks     int       // how many links may be its; -1: its LNS can't be looked up
	groupChangedAt time.Time // when groupLinks changed last
	missingAt      time.Time // when it was taken for down because one of those like it is; zero: it was not, or was dialled since
	lastLogged     string    // the latest log line about a step
	xl2tpdAt       time.Time // when its xl2tpd was seen to start; zero: it ran before, or has ended
	startedAt      time.Time // when an xl2tpd started that should dial it by `autodial`; zero: none did, or it has begun to dial

	savedAs *LACState // as it is in the saved state; nil: it is not
}

// lacDials is what is known of the dials of a LAC, those of recovery and those of xl2tpd.
type lacDials struct {
	dialledAt        time.Time  // when recovery last made xl2tpd dial it
	ownDialAt        time.Time  // since when xl2tpd may dial because recovery made it; zero: that dial was seen, or there is none
	dialBegan        time.Time  // when recovery last began to
	askedAt          time.Time  // when its xl2tpd was last seen to ask anybody for a tunnel or a call
	ignoredAt        time.Time  // when recovery last hung it up because xl2tpd had ignored a dial
	attemptAt        time.Time  // since when xl2tpd dials, as far as is known; zero: it does not
	overAt           time.Time  // when xl2tpd has finished with a tunnel or attempt that may have been its, and was not hung up
	sccrqAt          time.Time  // when xl2tpd last asked the LNS for a tunnel, for this LAC or another one
	calledAt         time.Time  // when xl2tpd last asked for a call in a tunnel that may be its
	hidden           bool       // xl2tpd may be dialling it, and nobody would see that
	hiddenAt         time.Time  // when hidden was last true; zero: never
	unresolved       bool       // its LNS's name can't be looked up
	unresolvedAt     time.Time  // when unresolved was last true; zero: never
	lookedUpFor      time.Time  // the redialDue before which the LNS's name was last looked up
	notDiallingSince time.Time  // since when xl2tpd is known not to dial it; zero: it may
	dialledLNS       netip.Addr // the address that xl2tpd last dialled; invalid: nobody has seen it
}

// lacEnds is how tunnels of a LAC have ended.
type lacEnds struct {
	lastEnd       *end      // how its latest tunnel ended; nil: it is up, or there was none
	possibleEnds  endList   // how tunnels or attempts ended that may have been this LAC's
	endsMeanwhile endList   // how links ended that may have been this LAC's, while recovery took a step for it
	silentAt      time.Time // when its latest tunnel ended, if the peer was silent; zero: it was not
}

// lacHangUp is the latest hang-up of a LAC by recovery, and what came of it.
type lacHangUp struct {
	guessed          bool      // the link for which it is being hung up may be another LAC's, or its tunnel may be gone
	downAt           time.Time // when recovery hung it up; zero: it may have been dialled since, see certainlyDown
	hangUpAt         time.Time // when recovery last began to hang it up
	dialledMeanwhile bool      // since hangUpAt, see clearDownAt
	redialsMeanwhile bool      // the same, and xl2tpd may redial it from then on, see mayRedialAgain
	hangUpDoneAt     time.Time // when it has last succeeded with that
	cutHangUpAt      time.Time // when the last process of this service began a hang-up of which it has not seen the end; zero: none
	plannedUntil     time.Time // until then xl2tpd may redial it, although it was hung up or dialled; zero: it won't
}

// history is what is known of a LAC's tunnels since somebody has last hung up.
type history int

const (
	hadNone    history = iota // none is known
	hadBefore                 // one, by the last process of this service, when the last xl2tpd may have run
	mayHaveHad                // it may have a tunnel of the present xl2tpd, or may have had one
	hadOne                    // it has had one, or was dialled
)

// lnsHost returns a LAC's first LNS, as xl2tpd.conf calls it; empty: none.
func lnsHost(s *xl2tpd.Section) string {
	if len(s.LNS) == 0 {
		return ""
	}
	return s.LNS[0]
}

// candidates are the links that may be a LAC's.
type candidates struct {
	exact     []*tunnel    // links that can't be another LAC's
	ambiguous []*[]*tunnel // groups of links, each of which may belong to any of several LACs
}

// links iterates over the links with addresses. The others are calls.
func (c *candidates) links(yield func(*tunnel) bool) {
	for _, t := range c.exact {
		if t.linked() && !yield(t) {
			return
		}
	}
	for _, group := range c.ambiguous {
		for _, t := range *group {
			if t.linked() && !yield(t) {
				return
			}
		}
	}
}

// any reports whether there is a link, or a call.
func (c *candidates) any() bool {
	return len(c.exact) > 0 || slices.ContainsFunc(c.ambiguous, func(group *[]*tunnel) bool { return len(*group) > 0 })
}

// up reports whether there is a link with addresses.
func (c *candidates) up() bool {
	for range c.links {
		return true
	}
	return false
}

// hasExact reports whether a link is certainly the LAC's, and of the xl2tpd with that pid. The links of an xl2tpd that
// has ended outlive it for a moment.
func (c *candidates) hasExact(pid int) bool {
	return slices.ContainsFunc(c.exact, func(t *tunnel) bool { return t.linked() && t.link.Xl2tpdPid == pid })
}

// carriesOthers reports whether an SA carries a tunnel that may be alive, and may be another LAC's.
func (index *tunnelIndex) carriesOthers(s sa, l *lac) bool {
	if s.UniqueID == "" {
		return false
	}
	return slices.ContainsFunc(index.bySA[s.UniqueID], l.othersMayLive)
}

// proves reports whether another tunnel shows that an SA works. The SA carries that tunnel, and the tunnel is alive, or
// is not watched at all (keepalive = no).
func (index *tunnelIndex) proves(s sa, l *lac) bool {
	return s.UniqueID != "" && slices.ContainsFunc(index.bySA[s.UniqueID], func(t *tunnel) bool {
		return l.othersMayLive(t) && (t.state == Alive || t.state == Off)
	})
}

// mayCarryOthers reports whether any SA may carry a tunnel that may be alive, because nobody knows the outer address of
// its far end.
func (index *tunnelIndex) mayCarryOthers(l *lac) bool {
	return slices.ContainsFunc(index.far, l.othersMayLive)
}

// othersMayLive reports whether a tunnel may be alive, and may be another LAC's.
func (l *lac) othersMayLive(t *tunnel) bool {
	n, one := t.identity.lac()
	dead := t.state == Silent && !t.evidence.Last().IsZero()
	return t.linked() && !dead && !(one && n.key() == l.key)
}

// takeNewSA takes the result of a request for an SA. The other LACs with the same LNS will be evaluated in the step under
// way. If there is a new SA, their peers have to be asked again.
func (ls *lacTable) takeNewSA(l *lac, err error) {
	s := ls.topology.section(l)
	if s == nil {
		return
	}
	for _, other := range ls.neighbours(l, s) {
		ls.agenda.mark(other)
		if err == nil {
			other.progress.OutdateAnswer()
		}
	}
}

// farEndRequests returns the echo requests Recover.Inside (own) and Recover.Beside (others).
func (ls *lacTable) farEndRequests(c *candidates, uniqueID string) (own, others []probe.Request) {
	mine := make(map[*tunnel]bool)
	for t := range c.links {
		mine[t] = true
		if t.target != t.link.Peer {
			own = t.askFarEnd(own)
		}
	}
	if uniqueID == "" {
		return own, nil
	}
	index := ls.tunnels.tunnelIndex()
	for _, t := range slices.Concat(index.bySA[uniqueID], index.far) {
		if !mine[t] && t.state == Silent {
			others = t.askFarEnd(others)
		}
	}
	return own, others
}

// capPlanned limits the time of xl2tpd's planned redial to what is possible: it may have been saved before the clock was
// set back.
func (l *lac) capPlanned(s *xl2tpd.Section, now time.Time) {
	if latest := now.Add(s.RedialTimeout + 2*policy.AttemptTime); l.plannedUntil.After(latest) {
		l.plannedUntil = latest
	}
}
