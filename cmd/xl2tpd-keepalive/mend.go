package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor"
	"xl2tpd-keepalive/vici"
)

const (
	// stepTime is how long a step may take; charon sends its first messages again
	// after 4 and 11 s.
	stepTime = 15 * time.Second

	// endTime is how long the end of an IKE SA may take.
	endTime = 4 * time.Second

	// dropTime is how long xl2tpd may take to drop an attempt.
	dropTime = time.Second

	// lookTime is how long an LNS may take to answer an echo request.
	lookTime = 2 * time.Second

	// heardLately is as long as a sign of life of a silent link counts.
	heardLately = time.Minute

	// A peer that does not answer when asked may send Hellos of its own, every 10 s
	// as Yamaha's routers do. It is asked a few times, a second apart.
	helloLately = 15 * time.Second
	asks        = 3
)

// mender does the steps of recovery.
type mender struct {
	control  dialler
	charon   vici.Commander
	listing  *listing
	echo     func(context.Context, probe.Request) probe.Result
	channels func() []helloguard.Channel
	ask      func(daemon procfs.ID, peer netip.Addr) bool
	bury     func(daemon procfs.ID, peer netip.Addr) (is bool)
	hanging  func(daemon procfs.ID, peer netip.Addr, is bool)
	dialling func(daemon procfs.ID, peer netip.Addr) (is, known bool)
	resolve  func(host string)
}

func (m *mender) step(ctx context.Context, r supervisor.Recover) error {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	m.resolve(r.Host) // it may have moved
	if r.LNS.IsValid() {
		if err := probe.Route(r.LNS, r.From); errors.Is(err, probe.ErrNoRoute) {
			return supervisor.ErrNoRoute
		}
	}
	if (r.Step == supervisor.StepRenew || r.Step == supervisor.StepHangUp) && r.Up && !r.Dead {
		if err := m.speaks(ctx, r); err != nil {
			return err
		}
	}
	if r.Step == supervisor.StepRenew && !r.Up && !r.Tried.IsZero() && heard(m.channels(), r, r.Tried) {
		return supervisor.ErrAnswers
	}
	if r.Step == supervisor.StepRenew && !r.Up && r.SA != "" && m.carries(ctx, r) {
		return supervisor.ErrCarries
	}
	switch r.Step {
	case supervisor.StepLook:
		return m.look(ctx, r.LNS, r.From)
	case supervisor.StepAsk:
		return m.dead(ctx, r)
	case supervisor.StepDial:
		return m.control.Connect(ctx, r.To, r.LAC.Name)
	case supervisor.StepRedial:
		return m.redial(ctx, r)
	case supervisor.StepHangUp:
		return m.hangUp(ctx, r)
	case supervisor.StepSecure, supervisor.StepRenew:
		return m.secure(ctx, r)
	}
	return fmt.Errorf("no such step: %v", r.Step)
}

// hangUp has xl2tpd close a tunnel. It holds on to one whose peer does not listen for
// 31 s, and would dial in that; the Hello guard has it done with the tunnel.
func (m *mender) hangUp(ctx context.Context, r supervisor.Recover) error {
	if r.Dead {
		m.bury(r.To.Process, r.Peer)
	}
	m.hanging(r.To.Process, r.Peer, true)
	switch err := m.control.Disconnect(ctx, r.To, r.LAC.Name); {
	case err != nil:
		m.hanging(r.To.Process, r.Peer, false)
		return err
	case r.Dead:
		return nil
	}
	for range asks {
		if err := pause(ctx, time.Second); err != nil {
			return dropped(err)
		}
		if !closing(m.channels(), r) {
			return nil
		}
	}
	if !m.bury(r.To.Process, r.Peer) {
		return nil // xl2tpd still waits for the acknowledgement
	}
	return supervisor.ErrUnheard
}

// redial has xl2tpd drop the attempt that it makes, if it makes one, and dial. The
// Hello guard, which tells that, has it done with the attempt at once.
func (m *mender) redial(ctx context.Context, r supervisor.Recover) error {
	switch is, known := m.dialling(r.To.Process, r.Peer); {
	case !known:
		return errors.New("xl2tpd may be dialling, and the Hello guard can't tell")
	case !is:
		return supervisor.ErrWaits
	}
	if err := m.control.Disconnect(ctx, r.To, r.LAC.Name); err != nil {
		return err
	}
	if err := pause(ctx, dropTime); err != nil {
		return dropped(err)
	}
	if err := m.control.Connect(ctx, r.To, r.LAC.Name); err != nil {
		return dropped(err)
	}
	return nil
}

// dropped is the error of a step behind xl2tpd's hanging up.
func dropped(err error) error { return fmt.Errorf("%w, and then: %w", supervisor.ErrDropped, err) }

// pause lets time pass, and returns an error if ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// secure initiates the CHILD SA with the LNS; to renew it, the IKE SA is ended first.
func (m *mender) secure(ctx context.Context, r supervisor.Recover) error {
	ike, child, ok, err := m.listing.find(ctx, r)
	switch {
	case err != nil:
		return err
	case !ok && r.IKE != "": // it is not to go on in the clear
		return fmt.Errorf("strongSwan has no connection for the LNS any more; the last tunnel came through %s", r.IKE)
	case !ok:
		return supervisor.ErrPlain
	}
	if r.Step == supervisor.StepRenew && r.SA != "" {
		if err := m.terminate(ctx, r.SA); err != nil {
			return err
		}
	}
	return m.charon.Initiate(ctx, child, ike)
}

// terminate ends an IKE SA. In IKEv2 a peer that is gone has its time to answer, and
// the new one its own.
func (m *mender) terminate(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	return m.charon.TerminateIKE(ctx, id)
}

func (m *mender) look(ctx context.Context, lns, from netip.Addr) error {
	return m.echo(ctx, probe.Request{Source: from, Target: lns, Timeout: lookTime}).Err
}

// dead returns nil if the tunnel with a silent link is certainly dead: its peer can
// be reached, and answers nothing on the control channel; or it can't be, while the
// LNS can be where its name now leads to. The control channel is asked first: a peer may let no
// echo request in.
func (m *mender) dead(ctx context.Context, r supervisor.Recover) error {
	if heard(m.channels(), r, time.Now().Add(-helloLately)) {
		return supervisor.ErrAlive
	}
	asked, err := m.askPeer(ctx, r)
	if err != nil {
		return err
	}
	away := m.look(ctx, r.Peer, r.From) // or it lets no echo request in
	switch {
	case !asked:
		return cmp.Or(away, errors.New("the Hello guard can't ask the peer"))
	case away != nil && (r.LNS == r.Peer || m.look(ctx, r.LNS, r.From) != nil):
		return away
	}
	return nil
}

// carries reports whether another tunnel with that peer lives, as far as its control messages show:
// an IKE SA that may carry it is not ended. Its link may be silent because only what echo requests
// go to is switched off. A peer is asked for this xl2tpd alone, so of another one's tunnel a late
// message is enough.
func (m *mender) carries(ctx context.Context, r supervisor.Recover) bool {
	lately := time.Now().Add(-heardLately)
	up := slices.DeleteFunc(slices.Clone(m.channels()), func(c helloguard.Channel) bool { return !c.Up })
	if slices.ContainsFunc(up, func(c helloguard.Channel) bool {
		return c.Tunnel.Peer.Addr() == r.Peer && !concerns(c, r) && c.Heard.After(lately)
	}) {
		return true
	}
	if !heard(up, r, lately) {
		return false
	}
	asked, err := m.askPeer(ctx, r)
	return !asked || errors.Is(err, supervisor.ErrAlive)
}

// speaks returns ErrAlive if the peer of a link has been heard lately, or answers. What it has said
// before r.Since counts only if it can't be asked.
func (m *mender) speaks(ctx context.Context, r supervisor.Recover) error {
	lately := time.Now().Add(-heardLately)
	since := lately
	if r.Since.After(since) {
		since = r.Since
	}
	if heard(m.channels(), r, since) {
		return supervisor.ErrAlive
	}
	asked, err := m.askPeer(ctx, r)
	if err == nil && !asked && heard(m.channels(), r, lately) {
		return supervisor.ErrAlive
	}
	return err
}

// askPeer asks a peer for a control message, a few times. The error is ErrAlive if one comes. It
// reports whether the peer could be asked.
func (m *mender) askPeer(ctx context.Context, r supervisor.Recover) (asked bool, err error) {
	began := time.Now()
	for range asks {
		if !m.ask(r.To.Process, r.Peer) {
			return asked, nil
		}
		asked = true
		if err := pause(ctx, time.Second); err != nil {
			return asked, err
		}
		if heard(m.channels(), r, began) {
			return asked, supervisor.ErrAlive
		}
	}
	return asked, nil
}

// closing reports whether the LAC's peer has not acknowledged a StopCCN yet, as far as the Hello
// guard has seen it.
func closing(channels []helloguard.Channel, r supervisor.Recover) bool {
	return slices.ContainsFunc(channels, func(c helloguard.Channel) bool { return concerns(c, r) && c.Closing })
}

// heard reports whether such messages have come in since then.
func heard(channels []helloguard.Channel, r supervisor.Recover, since time.Time) bool {
	return slices.ContainsFunc(channels, func(c helloguard.Channel) bool {
		return concerns(c, r) && c.Heard.After(since)
	})
}

// concerns reports whether a control connection can be the LAC's. One whose owner is not known
// can be: what may live is not given up.
func concerns(c helloguard.Channel, r supervisor.Recover) bool {
	return c.Tunnel.Peer.Addr() == r.Peer && (c.Owner == r.To.Process || c.Owner == procfs.ID{})
}
