package helloguard

import (
	"context"
	"log/slog"
	"time"

	"xl2tpd-keepalive/internal/helloguard/translator"
)

const (
	// dataTTL is for how long the kernel remembers when data came in. No longer Window counts.
	dataTTL = 15 * time.Minute

	// reviewAfter is how long after a tunnel's start its links are asked whether they are
	// certain. They are there then. If they are not certain, data can still be noted before the
	// tunnel's first Hello.
	reviewAfter = 5 * time.Second
	// reviewPace is the time between the reviews of two tunnels that the guard has met together.
	reviewPace = 5 * time.Millisecond

	// dataAge is for how long a reading of what the kernel has noted is used again. If a reading
	// takes long, there are so few that they take one part in dataCost of the time.
	dataAge  = 100 * time.Millisecond
	dataCost = 20
)

// arrival is when data came in last for a tunnel; zero: not lately.
type arrival struct{ clear, secured time.Time }

// dataWatch is what the kernel notes of data packets, for tunnels whose links are not
// certain. They never come to the guard themselves.
type dataWatch struct {
	fx     effects
	wanted map[path]int // by how many channels

	readAt time.Time // zero: not read yet
	fresh  time.Duration
	known  map[address]arrival
	err    error
}

// paths returns those on which data are noted.
func (d *dataWatch) paths() (all []path) {
	for at := range d.wanted {
		all = append(all, at)
	}
	return all
}

// want counts one more channel, or one less, that needs the data of a path noted.
func (d *dataWatch) want(at path, on bool) error {
	if on {
		d.wanted[at]++
		if d.wanted[at] > 1 {
			return nil
		}
		return d.fx.noteData(at, true)
	}
	d.wanted[at]--
	if d.wanted[at] > 0 {
		return nil
	}
	delete(d.wanted, at)
	return d.fx.noteData(at, false)
}

// read returns what the kernel has noted.
func (d *dataWatch) read(now time.Time) map[address]arrival {
	if age := now.Sub(d.readAt); d.readAt.IsZero() || age < 0 || age >= d.fresh {
		began := time.Now()
		d.known, d.err = d.fx.arrivals()
		d.readAt, d.fresh = now, max(dataAge, dataCost*time.Since(began))
	}
	return d.known
}

// works reports whether what the kernel has noted could be read.
func (d *dataWatch) works(now time.Time) bool {
	d.read(now)
	return d.err == nil
}

// evidence is what shows that the tunnel of a channel lives.
type evidence struct {
	ctx    context.Context
	log    *packetLog
	links  func(ctx context.Context, c OwnedConnection) Links
	data   *dataWatch
	owners *owners
}

// linksOf asks what is known of the links of a connection.
func (e *evidence) linksOf(c OwnedConnection) Links { return e.links(e.ctx, c) }

// liveness is what is known of the channel's tunnel now. A message or data of the connection itself is a sign of life,
// whatever is known of links.
func (e *evidence) liveness(c *channel, now time.Time) (live translator.Liveness, wanted bool) {
	s := e.ownLinks(c, now)
	return translator.Liveness{
		Peer:      s.Wanted && (s.Certain && s.Alive || within(s.Window, c.heard, now) || within(s.Window, e.dataOf(c, now), now)),
		LetGo:     !s.Wanted,
		PassFirst: s.PassFirst,
		GivesUp:   e.owners.givesUp(c.owner),
		Hurries:   e.owners.hurries(c.owner),
		Xl2tpd:    c.owner.ownership == ownerKnown && !e.owners.hasEnded(c.owner),
	}, s.Wanted
}

// ownLinks asks for the links of a channel's tunnel. If they may be another tunnel's, its
// data are noted.
func (e *evidence) ownLinks(c *channel, now time.Time) Links {
	s := e.linksOf(c.connection())
	if s.Unknown {
		s.Wanted = s.Wanted || c.wanted
		return s
	}
	e.noteData(c, s.Wanted && !s.Certain && c.up(), now)
	return s
}

// noteData says whether the kernel is to note data of a channel's tunnel.
func (e *evidence) noteData(c *channel, on bool, now time.Time) {
	if on != c.noted.IsZero() {
		return
	}
	if c.noted = (time.Time{}); on {
		c.noted = now
	}
	e.wantData(c.path(), on, now)
}

func (e *evidence) wantData(at path, on bool, now time.Time) {
	if err := e.data.want(at, on); err != nil {
		e.log.peerFailed(at.peer, now, slog.LevelError, "hello guard: rules can't be changed", err)
	}
}

// dataOf returns when data came in last for a channel's tunnel; zero: not lately, or nobody
// has noted it. Where the peer's packets come through IPsec, others are forged.
func (e *evidence) dataOf(c *channel, now time.Time) time.Time {
	if c.noted.IsZero() {
		return time.Time{}
	}
	t := c.translator.Connection()
	a := e.data.read(now)[address{c.path(), t.LocalID, false}]
	if c.secured {
		return a.secured
	}
	return later(a.clear, a.secured)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func within(window time.Duration, at, now time.Time) bool {
	return !at.IsZero() && now.Sub(at) <= window
}
