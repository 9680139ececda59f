package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

// fakePlane is a fake kernel. The server's goroutine calls it, because of
// what a test has delivered.
type fakePlane struct {
	fail    error // of tunnel
	tunnels []*fakeTunnel
}

type fakeTunnel struct {
	fail     error // of session
	count    atomic.Uint64
	broken   atomic.Bool // the counters cannot be read
	closed   bool
	sessions []*fakeSession
}

type fakeSession struct {
	assigned netip.Addr
	news     func(pppNews)
	stopped  bool
	stubborn bool // does not end when stopped
}

func (p *fakePlane) tunnel(netip.AddrPort, uint16, uint16, func(datagram)) (dataTunnel, error) {
	if p.fail != nil {
		return nil, p.fail
	}
	t := &fakeTunnel{}
	p.tunnels = append(p.tunnels, t)
	return t, nil
}

func (t *fakeTunnel) session(_, _ uint16, assigned netip.Addr, news func(pppNews)) (dataSession, error) {
	if t.fail != nil {
		return nil, t.fail
	}
	s := &fakeSession{assigned: assigned, news: news}
	t.sessions = append(t.sessions, s)
	return s, nil
}

func (t *fakeTunnel) packets() (uint64, error) {
	if t.broken.Load() {
		return 0, errors.New("broken")
	}
	return t.count.Load(), nil
}

func (t *fakeTunnel) close() { t.closed = true }

func (s *fakeSession) stop() {
	s.stopped = true
	if !s.stubborn {
		go s.news(pppNews{ended: true, detail: "stopped"})
	}
}

// house is a server with its surroundings, inside a synctest bubble.
type house struct {
	t      *testing.T
	server *server
	plane  *fakePlane
	stop   context.CancelFunc
	ended  chan struct{}

	mu   sync.Mutex // the server writes whenever a timer wakes it
	log  bytes.Buffer
	sent []sentPacket
}

// Write makes house the journal's writer.
func (h *house) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.Write(b)
}

// packets is what has been sent so far.
func (h *house) packets() []sentPacket {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.sent)
}

type sentPacket struct {
	to netip.AddrPort
	l2tp.Packet
}

func inHouse(t *testing.T, b l2tp.Behaviour, test func(h *house)) {
	t.Helper()
	defer goleak.VerifyNone(t)
	synctest.Test(t, func(t *testing.T) {
		pool, err := parsePool("10.0.0.10-10.0.0.12")
		if err != nil {
			t.Fatal(err)
		}
		h := &house{t: t, plane: &fakePlane{}, ended: make(chan struct{})}
		h.server = newServer(b, journal{peer: "us", out: h}, h.plane, pool, h.record, 3*time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		h.stop = cancel
		defer cancel()
		go func() {
			defer close(h.ended)
			h.server.run(ctx)
		}()
		test(h)
		cancel()
		<-h.ended
	})
}

func (h *house) record(to netip.AddrPort, wire []byte) {
	p, err := l2tp.Parse(wire)
	if err != nil {
		h.t.Errorf("sent what cannot be read: %v", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent = append(h.sent, sentPacket{to, p})
}

// events reads the log.
func (h *house) events() []map[string]any {
	h.t.Helper()
	synctest.Wait()
	h.mu.Lock()
	log := bytes.Clone(h.log.Bytes())
	h.mu.Unlock()
	var all []map[string]any
	for line := range bytes.Lines(log) {
		var e map[string]any
		if err := json.Unmarshal(line, &e); err != nil {
			h.t.Fatalf("%s: %v", line, err)
		}
		if _, err := time.Parse(time.RFC3339Nano, e["t"].(string)); err != nil || e["peer"] != "us" {
			h.t.Errorf("%s: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

// last is the last event of a name, nil without one.
func (h *house) last(name string) map[string]any {
	h.t.Helper()
	var found map[string]any
	for _, e := range h.events() {
		if e["event"] == name {
			found = e
		}
	}
	return found
}

func (h *house) wantReason(event, reason string) {
	h.t.Helper()
	if e := h.last(event); e == nil || e["reason"] != reason {
		h.t.Errorf("%s: %v, want the reason %q", event, e, reason)
	}
}

// client is a LAC that acknowledges with its messages only.
type client struct {
	h           *house
	address     netip.AddrPort
	tunnel      uint16 // the server's id
	session     uint16
	ns, nr      uint16
	ownTunnelID uint16
}

func (h *house) client(address string, id uint16) *client {
	return &client{h: h, address: netip.MustParseAddrPort(address), ownTunnelID: id}
}

func avp16(typ, v uint16) l2tp.AVP {
	return l2tp.AVP{Mandatory: true, Type: typ, Value: binary.BigEndian.AppendUint16(nil, v)}
}

// message sends the next one and waits for the server to be at rest.
func (c *client) message(typ l2tp.MessageType, session uint16, more ...l2tp.AVP) {
	c.h.t.Helper()
	c.deliver(l2tp.Packet{Tunnel: c.tunnel, Session: session, Ns: c.ns, Nr: c.nr, AVPs: append([]l2tp.AVP{avp16(l2tp.AVPMessageType, uint16(typ))}, more...)})
	c.ns++
}

func (c *client) zlb() { c.deliver(l2tp.Packet{Tunnel: c.tunnel, Ns: c.ns, Nr: c.nr}) }

func (c *client) deliver(p l2tp.Packet) {
	c.h.server.deliver(datagram{c.address, p.Marshal()})
	for _, s := range c.h.packets() {
		if s.to == c.address && s.Tunnel == c.ownTunnelID && !s.ZLB() && s.Ns == c.nr {
			c.nr++
		}
	}
}

// reply finds an assigned id in what the server has sent this client.
func (c *client) reply(typ l2tp.MessageType, id uint16) uint16 {
	c.h.t.Helper()
	for _, s := range c.h.packets() {
		if s.to != c.address || s.Type() != typ {
			continue
		}
		for _, a := range s.AVPs {
			if a.Type == id {
				return binary.BigEndian.Uint16(a.Value)
			}
		}
	}
	c.h.t.Fatalf("no %s came", typ)
	return 0
}

func (c *client) request() { c.message(l2tp.SCCRQ, 0, avp16(l2tp.AVPAssignedTunnel, c.ownTunnelID)) }

func (c *client) establish() {
	c.request()
	c.tunnel = c.reply(l2tp.SCCRP, l2tp.AVPAssignedTunnel)
	c.message(l2tp.SCCCN, 0)
}

func (c *client) call() {
	c.message(l2tp.ICRQ, 0, avp16(l2tp.AVPAssignedSession, 500))
	c.session = c.reply(l2tp.ICRP, l2tp.AVPAssignedSession)
	c.message(l2tp.ICCN, c.session)
}

const someone, another = "192.0.2.1:1701", "192.0.2.2:1701"

func TestLife(t *testing.T) {
	inHouse(t, l2tp.Defaults(), func(h *house) {
		c := h.client(someone, 5)
		c.establish()
		c.call()
		ppp := h.plane.tunnels[0].sessions[0]
		ppp.news(pppNews{iface: "ppp0", local: "10.0.0.1", assigned: "10.0.0.10"})
		if e := h.last("ppp-up"); e["interface"] != "ppp0" || e["assigned"] != "10.0.0.10" || e["remote"] != someone || e["tunnel"] != float64(c.tunnel) || e["session"] != float64(c.session) {
			t.Errorf("ppp-up: %v", e)
		}
		ppp.news(pppNews{ended: true, detail: "pppd: exit status 16."})
		h.wantReason(l2tp.EventSessionClose, l2tp.ReasonPPPExit)
		sent := h.packets()
		if last := sent[len(sent)-1]; h.last(l2tp.EventClose) != nil || last.Type() != l2tp.CDN {
			t.Errorf("sent %v, events %v", last.Type(), h.events())
		}
		// The address is free again, and there may be a next call.
		c.message(l2tp.ICRQ, 0, avp16(l2tp.AVPAssignedSession, 501))
		c.message(l2tp.ICCN, c.session+1)
		if again := h.plane.tunnels[0].sessions[1]; again.assigned != ppp.assigned {
			t.Errorf("the next call gets %v, want %v", again.assigned, ppp.assigned)
		}
		c.message(l2tp.StopCCN, 0)
		h.wantReason(l2tp.EventClose, l2tp.ReasonStopCCNFromPeer)
		if k := h.plane.tunnels[0]; !k.closed || !k.sessions[1].stopped {
			t.Error("the kernel still has the tunnel")
		}
	})
}

func TestShutdown(t *testing.T) {
	for name, c := range map[string]struct {
		acknowledge, stubborn bool
		want                  time.Duration
	}{
		"all is well":       {true, false, 0},
		"the client is off": {false, false, 3 * time.Second},
		"pppd hangs":        {true, true, 3 * time.Second},
	} {
		inHouse(t, l2tp.Defaults(), func(h *house) {
			a, b := h.client(someone, 5), h.client(another, 6)
			a.establish()
			b.establish()
			a.call()
			h.plane.tunnels[0].sessions[0].stubborn = c.stubborn
			start := time.Now()
			h.stop()
			synctest.Wait()
			h.wantReason(l2tp.EventSessionClose, l2tp.ReasonShutdown)
			h.wantReason(l2tp.EventClose, l2tp.ReasonShutdown)
			h.client("192.0.2.3:1701", 7).request() // too late
			if c.acknowledge {
				a.nr, b.nr = a.nr+1, b.nr+1
				a.zlb()
				b.zlb()
			}
			<-h.ended
			if d := time.Since(start); d != c.want {
				t.Errorf("%s: ended after %v, want %v", name, d, c.want)
			}
			if len(h.plane.tunnels) != 2 || !h.plane.tunnels[0].closed || !h.plane.tunnels[1].closed {
				t.Errorf("%s: the kernel still has a tunnel, or one too many", name)
			}
			for _, s := range h.packets() {
				if s.to.Addr() == netip.MustParseAddr("192.0.2.3") {
					t.Errorf("%s: a request during the shutdown was answered by %v", name, s.Type())
				}
			}
		})
	}
}

// Data in the kernel's counters holds a tunnel up, and nothing else.
func TestIdleTimer(t *testing.T) {
	b := l2tp.Defaults()
	b.Idle = l2tp.Duration(time.Minute)
	inHouse(t, b, func(h *house) {
		c := h.client(someone, 5)
		c.establish()
		for range 5 {
			time.Sleep(50 * time.Second)
			h.plane.tunnels[0].count.Add(1)
		}
		if e := h.last(l2tp.EventClose); e != nil {
			t.Fatalf("closed with data flowing: %v", e)
		}
		last := time.Now()
		time.Sleep(59 * time.Second)
		c.message(l2tp.Hello, 0)
		if e := h.last(l2tp.EventClose); e != nil {
			t.Fatalf("closed early: %v", e)
		}
		time.Sleep(3 * time.Second)
		h.wantReason(l2tp.EventClose, l2tp.ReasonIdle)
		at, err := time.Parse(time.RFC3339Nano, h.last(l2tp.EventClose)["t"].(string))
		if d := at.Sub(last); err != nil || d < time.Minute || d > time.Minute+time.Duration(b.IdleLook) {
			t.Errorf("closed %v after the last data, %v", d, err)
		}
	})
}

func TestMaxClients(t *testing.T) {
	b := l2tp.Defaults()
	b.MaxClients = 1
	inHouse(t, b, func(h *house) {
		a, second := h.client(someone, 5), h.client(another, 5)
		a.establish()
		second.request()
		h.wantReason(l2tp.EventClose, l2tp.ReasonMaxClients)
		a.message(l2tp.StopCCN, 0)
		third := h.client(another, 6)
		third.establish()
		if len(h.plane.tunnels) != 2 {
			t.Errorf("%d tunnels in the kernel, want 2: the place was free again", len(h.plane.tunnels))
		}
	})
}

func TestRepeatedRequestIsOneTunnel(t *testing.T) {
	inHouse(t, l2tp.Defaults(), func(h *house) {
		c := h.client(someone, 5)
		c.request()
		c.ns--
		c.request()
		if len(h.server.tunnels) != 1 || h.last(l2tp.EventDuplicate) == nil {
			t.Errorf("%d tunnels", len(h.server.tunnels))
		}
	})
}

func TestDataPlaneErrors(t *testing.T) {
	broken := errors.New("broken")
	inHouse(t, l2tp.Defaults(), func(h *house) {
		h.plane.fail = broken
		h.client(someone, 5).establish()
		h.wantReason(l2tp.EventClose, l2tp.ReasonDataPlane)
	})
	inHouse(t, l2tp.Defaults(), func(h *house) {
		c := h.client(someone, 5)
		c.establish()
		h.plane.tunnels[0].fail = broken
		c.call()
		h.wantReason(l2tp.EventSessionClose, l2tp.ReasonDataPlane)
	})
	b := l2tp.Defaults()
	b.Idle = l2tp.Duration(time.Minute)
	inHouse(t, b, func(h *house) {
		h.client(someone, 5).establish()
		h.plane.tunnels[0].broken.Store(true)
		time.Sleep(2 * time.Duration(b.IdleLook))
		h.wantReason(l2tp.EventClose, l2tp.ReasonDataPlane)
	})
	// The pool has three addresses.
	inHouse(t, l2tp.Defaults(), func(h *house) {
		c := h.client(someone, 5)
		c.establish()
		c.call()
		for i := range uint16(3) {
			c.message(l2tp.ICRQ, 0, avp16(l2tp.AVPAssignedSession, 501+i))
			c.message(l2tp.ICCN, c.session+1+i)
		}
		h.wantReason(l2tp.EventSessionClose, l2tp.ReasonDataPlane)
		if n := len(h.plane.tunnels[0].sessions); n != 3 {
			t.Errorf("%d sessions with PPP, want 3", n)
		}
	})
}

func TestUnknownClients(t *testing.T) {
	inHouse(t, l2tp.Defaults(), func(h *house) {
		c := h.client(someone, 5)
		c.establish()
		thief := h.client(another, 9)
		thief.tunnel, thief.ns = c.tunnel, c.ns
		sent := len(h.packets())
		thief.message(l2tp.StopCCN, 0)
		if e := h.last("stray"); e == nil || e["remote"] != another {
			t.Errorf("stray: %v", e)
		}
		h.server.deliver(datagram{c.address, []byte{0xc8, 2, 0, 1}})
		if e := h.last("bad-packet"); e == nil || e["detail"] == "" {
			t.Errorf("bad-packet: %v", e)
		}
		h.client(another, 0).request() // names no tunnel
		events := len(h.events())
		h.server.deliver(datagram{c.address, []byte{0, 2, 0, 1, 0, 1, 0xff, 3}}) // data
		if len(h.events()) != events || len(h.packets()) != sent || h.last(l2tp.EventClose) != nil {
			t.Errorf("events %v", h.events())
		}
	})
}
