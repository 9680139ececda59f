package main

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

// dataPlane makes the kernel's side of tunnels.
type dataPlane interface {
	// tunnel makes one whose control packets go to receive, which is called
	// from another goroutine.
	tunnel(remote netip.AddrPort, local, peer uint16, receive func(datagram)) (dataTunnel, error)
}

// dataTunnel is the kernel's side of one tunnel.
type dataTunnel interface {
	// session starts PPP. news is called from another goroutine; its last
	// call, which always comes, reports the end.
	session(local, peer uint16, assigned netip.Addr, news func(pppNews)) (dataSession, error)
	// packets counts the data packets of both directions since the start.
	packets() (uint64, error)
	close()
}

// dataSession is PPP on one session.
type dataSession interface{ stop() }

// datagram is a packet as it came off a socket.
type datagram struct {
	from netip.AddrPort
	data []byte
}

// pppNews is a change of PPP: up with its addresses, or ended.
type pppNews struct {
	ended                  bool
	iface, local, assigned string // when up
	detail                 string // how it ended
}

// entry is what the server knows of one tunnel.
type entry struct {
	id       uint16
	control  *l2tp.Tunnel
	remote   netip.AddrPort
	data     dataTunnel // nil before tunnel-up and after the close
	sessions map[uint16]*session
}

// session is one with PPP on it. It outlives its place in the entry until PPP
// has ended.
type session struct {
	id       uint16
	of       *entry
	assigned netip.Addr
	data     dataSession
}

type sessionNews struct {
	session *session
	pppNews
}

// server owns all tunnels; everything happens in the goroutine of run.
type server struct {
	behaviour l2tp.Behaviour
	journal   journal
	plane     dataPlane
	pool      *pool
	send      func(netip.AddrPort, []byte) // a control packet, best effort
	grace     time.Duration                // at the end, for StopCCNs to be acknowledged and PPP to stop

	packets chan datagram
	news    chan sessionNews
	done    chan struct{}
	tunnels map[uint16]*entry
	ppp     int // sessions whose PPP has not ended
	strays  int // packets without a tunnel so far
}

// maxStrays is how many of them are written down: the log must not become the
// bottleneck of a flood.
const maxStrays = 100

func newServer(b l2tp.Behaviour, j journal, plane dataPlane, p *pool, send func(netip.AddrPort, []byte), grace time.Duration) *server {
	return &server{
		behaviour: b, journal: j, plane: plane, pool: p, send: send, grace: grace,
		packets: make(chan datagram), news: make(chan sessionNews), done: make(chan struct{}),
		tunnels: map[uint16]*entry{},
	}
}

// deliver hands in a packet, from any goroutine. After the end of run it is
// dropped.
func (s *server) deliver(d datagram) {
	select {
	case s.packets <- d:
	case <-s.done:
	}
}

// run serves until ctx ends, then sends StopCCN on every tunnel and returns
// when all is quiet, or after the grace time.
func (s *server) run(ctx context.Context) {
	defer close(s.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	stop := ctx.Done()
	var deadline time.Time
	for {
		select {
		case <-stop:
			stop = nil
			deadline = time.Now().Add(s.grace)
			for _, e := range s.tunnels {
				s.do(e, e.control.Close(time.Now(), l2tp.ReasonShutdown, ""))
			}
		case d := <-s.packets:
			s.receive(d, stop == nil)
		case n := <-s.news:
			s.pppChanged(n)
		case <-timer.C:
		}
		s.tick()
		if stop == nil && (s.quiet() || !time.Now().Before(deadline)) {
			return
		}
		timer.Reset(s.untilWake(deadline))
	}
}

func (s *server) receive(d datagram, stopping bool) {
	if !l2tp.IsControl(d.data) {
		return // data for a tunnel that is no more
	}
	p, err := l2tp.Parse(d.data)
	if err != nil {
		s.stray(record{Event: "bad-packet", Remote: d.from.String(), Detail: err.Error()})
		return
	}
	e := s.tunnels[p.Tunnel]
	if p.Tunnel == 0 && p.Type() == l2tp.SCCRQ {
		if e = s.asked(d.from, p); e == nil {
			if !stopping {
				s.accept(d.from, p)
			}
			return
		}
	}
	if e == nil || e.remote != d.from {
		s.stray(record{Event: "stray", Tunnel: p.Tunnel, Remote: d.from.String(), Message: p.Type().String()})
		return
	}
	s.do(e, e.control.Receive(time.Now(), p))
}

func (s *server) stray(r record) {
	if s.strays++; s.strays <= maxStrays {
		s.journal.write(r)
	}
}

// asked finds the tunnel that an SCCRQ, sent again, has asked for before.
func (s *server) asked(from netip.AddrPort, sccrq l2tp.Packet) *entry {
	for _, e := range s.tunnels {
		if e.remote == from && e.control.Asked(sccrq) {
			return e
		}
	}
	return nil
}

func (s *server) accept(from netip.AddrPort, sccrq l2tp.Packet) {
	refusal, active := "", 0
	for _, e := range s.tunnels {
		if e.control.Active() {
			active++
		}
	}
	if s.behaviour.MaxClients > 0 && active >= s.behaviour.MaxClients {
		refusal = l2tp.ReasonMaxClients
	}
	id := randomID()
	for s.tunnels[id] != nil {
		id = randomID()
	}
	control, out, err := l2tp.Accept(time.Now(), s.behaviour, id, randomID(), sccrq, refusal)
	if err != nil {
		s.journal.write(record{Event: "bad-packet", Remote: from.String(), Detail: err.Error()})
		return
	}
	e := &entry{id: id, control: control, remote: from, sessions: map[uint16]*session{}}
	s.tunnels[id] = e
	s.do(e, out)
}

// randomID makes ids that differ at both ends and between restarts, so that
// mixing them up cannot go unnoticed.
func randomID() uint16 { return uint16(1 + rand.IntN(0xffff)) }

// do carries out what a control channel wants done.
func (s *server) do(e *entry, outputs []l2tp.Output) {
	for _, o := range outputs {
		switch o := o.(type) {
		case l2tp.Send:
			s.send(e.remote, o.Packet)
		case l2tp.Event:
			s.journal.control(e.id, e.remote, o)
		case l2tp.OpenTunnel:
			data, err := s.plane.tunnel(e.remote, o.Local, o.Peer, s.deliver)
			if err != nil {
				s.do(e, e.control.Close(time.Now(), l2tp.ReasonDataPlane, err.Error()))
				continue
			}
			e.data = data
		case l2tp.OpenSession:
			if err := s.openSession(e, o); err != nil {
				s.do(e, e.control.SessionEnded(time.Now(), o.Local, l2tp.ReasonDataPlane, err.Error()))
			}
		case l2tp.CloseSession:
			if r := e.sessions[o.Local]; r != nil {
				r.data.stop()
				delete(e.sessions, o.Local)
			}
		case l2tp.CloseTunnel:
			if e.data != nil {
				e.data.close()
				e.data = nil
			}
		}
	}
}

func (s *server) openSession(e *entry, o l2tp.OpenSession) error {
	address, err := s.pool.take()
	if err != nil {
		return err
	}
	r := &session{id: o.Local, of: e, assigned: address}
	r.data, err = e.data.session(o.Local, o.Peer, address, func(n pppNews) {
		select {
		case s.news <- sessionNews{r, n}:
		case <-s.done:
		}
	})
	if err != nil {
		s.pool.release(address)
		return err
	}
	e.sessions[o.Local] = r
	s.ppp++
	return nil
}

func (s *server) pppChanged(n sessionNews) {
	r, e := n.session, n.session.of
	if n.ended {
		s.ppp--
		s.pool.release(r.assigned)
	}
	if e.sessions[r.id] != r {
		return // closed already, for another reason
	}
	if !n.ended {
		s.journal.write(record{
			Event: "ppp-up", Tunnel: e.id, Session: r.id, Remote: e.remote.String(),
			Interface: n.iface, Local: n.local, Assigned: n.assigned,
		})
		return
	}
	s.do(e, e.control.SessionEnded(time.Now(), r.id, l2tp.ReasonPPPExit, n.detail))
}

func (s *server) tick() {
	for id, e := range s.tunnels {
		now := time.Now()
		if e.data != nil && s.behaviour.Idle > 0 {
			packets, err := e.data.packets()
			if err != nil {
				s.do(e, e.control.Close(now, l2tp.ReasonDataPlane, err.Error()))
			} else {
				e.control.Data(now, packets)
			}
		}
		s.do(e, e.control.Tick(now))
		if e.control.Gone() {
			delete(s.tunnels, id)
		}
	}
}

// quiet reports whether nothing is left to wait for at the end.
func (s *server) quiet() bool {
	for _, e := range s.tunnels {
		if e.control.Pending() {
			return false
		}
	}
	return s.ppp == 0
}

// untilWake is how long to sleep when nothing comes in; deadline may be zero.
func (s *server) untilWake(deadline time.Time) time.Duration {
	wake := time.Now().Add(time.Hour)
	earlier := func(at time.Time) {
		if !at.IsZero() && at.Before(wake) {
			wake = at
		}
	}
	earlier(deadline)
	for _, e := range s.tunnels {
		earlier(e.control.Wake())
		if e.data != nil && s.behaviour.Idle > 0 {
			earlier(time.Now().Add(time.Duration(s.behaviour.IdleLook)))
		}
	}
	return time.Until(wake)
}
