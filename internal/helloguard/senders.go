package helloguard

import (
	"log/slog"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/procfs"
)

// aliveFor is for how long a process that ran counts as running while a connection is being
// opened. Whether it still runs is asked again when the connection is established.
const aliveFor = 100 * time.Millisecond

// owners finds out which xl2tpd sends.
type owners struct {
	log      *packetLog
	facts    sources
	gone     func(procfs.ID) bool                      // certainly ended
	sentFrom func(at address) func(cgroup uint32) bool // see effects
	host     Host                                      // as the service knows it
	unlisted func()                                    // nil: nobody asks

	unlistedAt time.Time // its latest call
	sending    address   // whose message is being handled, if it is one of this host
	sendersAt  time.Time // when the kernel may be asked again who sends
	alive      procfs.ID // ran at aliveAt
	aliveAt    time.Time
	leftAlone  procfs.ID // the xl2tpd of which the log has said that its tunnels are left alone
}

// sources is where owners learns who may send.
type sources interface {
	of(port uint16, now time.Time) facts
	forget()
}

// ownerOf asks who sends on a path. The answer names no process that has ended: facts may
// be a second old.
func (ow *owners) ownerOf(at path, opens bool, now time.Time) owner {
	for range 2 {
		f := ow.factsOf(at.local.Port(), now)
		o := f.whoSends(at.local, at.peer, opens)
		if o.ownership == ownerUnclear {
			o = ow.bySender(f, at, opens, now)
		}
		if o.ownership != ownerKnown {
			return o
		}
		if age := now.Sub(ow.aliveAt); o.process == ow.alive && age >= 0 && age < aliveFor {
			return o
		}
		if !ow.gone(o.process) {
			ow.alive, ow.aliveAt = o.process, now
			return o
		}
		ow.facts.forget()
	}
	return owner{ownership: ownerUnclear}
}

// cheapRead is how long it may take to ask the kernel who sends without a pause after it.
const cheapRead = 5 * time.Millisecond

// bySender asks the kernel who sends the message at hand, where several programs can. If the
// answer takes long, it is asked so seldom that it costs one part in dataCost of the time.
func (ow *owners) bySender(f facts, at path, opens bool, now time.Time) owner {
	if ow.sending.path == at && !f.unread && f.certain(f.sockets) && !now.Before(ow.sendersAt) {
		began := time.Now()
		sentFrom := ow.sentFrom(ow.sending)
		if took := time.Since(began); took > cheapRead {
			ow.sendersAt = now.Add(dataCost * took)
		}
		if o := f.limitedTo(sentFrom).whoSends(at.local, at.peer, opens); o.ownership == ownerKnown {
			return o
		}
	}
	return owner{ownership: ownerUnclear}
}

// hasEnded reports whether an owner is known, and has ended.
func (ow *owners) hasEnded(o owner) bool { return o.ownership == ownerKnown && ow.gone(o.process) }

// unlistedEvery is the shortest time between two calls of Guard.Unlisted.
const unlistedEvery = time.Second

// factsOf returns the facts about a port, and says if they name an xl2tpd that is not known yet.
func (ow *owners) factsOf(port uint16, now time.Time) facts {
	f := ow.facts.of(port, now)
	unknown := func(d Daemon) bool { return !slices.Contains(ow.host.Daemons, d.ID) }
	if slices.ContainsFunc(f.daemons, unknown) && ow.unlisted != nil && now.Sub(ow.unlistedAt) >= unlistedEvery {
		ow.unlistedAt = now
		ow.unlisted()
	}
	return f
}

// portsOfXl2tpds returns the ports at which xl2tpds listen, and surely nobody else.
func (ow *owners) portsOfXl2tpds(now time.Time) (ports []uint16) {
	for _, p := range ow.host.Ports {
		if ow.factsOf(p, now).onlyXl2tpds() {
			ports = append(ports, p)
		}
	}
	return ports
}

// mayServe reports whether the guard may touch an owner's connections on a path. It says so
// in the log, once for each process, if it may not because of `ipsec saref`.
func (ow *owners) mayServe(o owner, at path, now time.Time) bool {
	if o.ownership == ownerForeign {
		return false
	}
	if !ow.factsOf(at.local.Port(), now).sendsThroughLo(o, at.local.Addr()) {
		return true
	}
	if ow.leftAlone != o.process {
		ow.leftAlone = o.process
		ow.log.seldom(now, slog.LevelWarn, "hello guard leaves tunnels alone: with `ipsec saref` in its file, xl2tpd can't be answered at an address of lo",
			func() []any { return []any{"local", at.local.Addr().String(), "pid", o.process.Pid} })
	}
	return false
}

// confirmed asks anew who owns a connection that is established now. The owner may have ended in the meantime, or its
// socket may be newer than what was known of the sockets.
func (ow *owners) confirmed(o owner, at path, now time.Time) owner {
	if o.ownership != ownerKnown {
		return o
	}
	ow.facts.forget()
	return ow.ownerOf(at, false, now)
}

// givesUp reports whether the owner surely gives an unanswered message up after 31 s.
func (ow *owners) givesUp(o owner) bool {
	return o.ownership == ownerKnown && slices.Contains(ow.host.GiveUp, o.process)
}

// hurries reports whether the owner gives up sooner than that.
func (ow *owners) hurries(o owner) bool {
	return o.ownership == ownerKnown && slices.Contains(ow.host.Hurry, o.process)
}

// runs reports whether the owner is one of the host's xl2tpds, as far as is known.
func (ow *owners) runs(o owner) bool {
	return o.ownership == ownerKnown && slices.Contains(ow.host.Daemons, o.process)
}
