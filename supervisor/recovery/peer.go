package recovery

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/wake"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor"
	"xl2tpd-keepalive/supervisor/recovery/policy"
)

const (
	// heardLately is for how long a control message says that the peer of a silent link is alive.
	heardLately = time.Minute

	// helloLately is the same for a peer that is asked. It may send Hellos of its own, every 10 s as
	// Yamaha's routers do, and may leave a question unanswered. asks is how often it is asked, a
	// second apart.
	helloLately = 15 * time.Second
	asks        = 3

	// insidePause is the time between echo requests inside the tunnel. The last one may then be answered until the last
	// question on the control channel may.
	insidePause = 500 * time.Millisecond
)

// askResult is the result of asking a peer.
type askResult int

const (
	unasked  askResult = iota // the Hello guard can't ask the peer
	noAnswer                  // the peer was asked
	answered
)

// confirmDead reports whether the tunnel of a silent link is certainly dead. There are two proofs. Either its peer can
// be reached and answers nothing, neither on the control channel nor inside the tunnel. Or its peer can't be reached, and
// the LNS answers at another address. The error says why there is no proof. The peer is asked first, and its host only
// then: it may let no echo request in.
func (e *Executor) confirmDead(ctx context.Context, r supervisor.Recover) (bool, error) {
	if heard(e.guard.Channels(), r, time.Now().Add(-helloLately)) {
		return false, nil
	}
	came, err := e.askBothWays(ctx, r)
	if err != nil || came == answered {
		return false, err
	}
	away := e.look(ctx, r.Peer, r.From)
	switch {
	case came == unasked:
		return false, cmp.Or(away, errors.New("the Hello guard can't ask the peer"))
	case away == nil:
		return true, nil
	case r.LNS == r.Peer || e.look(ctx, r.LNS, r.From) != nil:
		return false, away
	}
	return true, nil
}

// spareLiving returns ErrAlive if a link is up and its peer speaks.
func (e *Executor) spareLiving(ctx context.Context, r supervisor.Recover) error {
	if !r.Up || r.Dead {
		return nil
	}
	speaks, err := e.speaks(ctx, r)
	if err == nil && speaks {
		return policy.ErrAlive
	}
	return err
}

// speaks reports whether the peer of a link was heard lately, or answers. A message from before
// r.Since counts only if the peer can't be asked.
func (e *Executor) speaks(ctx context.Context, r supervisor.Recover) (bool, error) {
	lately := time.Now().Add(-heardLately)
	since := lately
	if r.Since.After(since) {
		since = r.Since
	}
	if heard(e.guard.Channels(), r, since) {
		return true, nil
	}
	came, err := e.askBothWays(ctx, r)
	if err != nil {
		return false, err
	}
	return came == answered || came == unasked && heard(e.guard.Channels(), r, lately), nil
}

// carriesAnother reports whether the control messages show that another tunnel with that peer is alive. The IKE SA may
// carry that tunnel and must not be ended. Its link may be silent because only the target of the echo requests is
// switched off. The guard asks a peer for this xl2tpd alone, so for a tunnel of another xl2tpd a recent message is
// enough.
func (e *Executor) carriesAnother(ctx context.Context, r supervisor.Recover) bool {
	lately := time.Now().Add(-heardLately)
	up := slices.DeleteFunc(slices.Clone(e.guard.Channels()), func(c helloguard.Channel) bool { return !c.Up })
	if slices.ContainsFunc(up, func(c helloguard.Channel) bool {
		return c.Peer.Addr() == r.Peer && !concerns(c, r) && c.Heard.After(lately)
	}) {
		return true
	}
	if !heard(up, r, lately) {
		return false
	}
	if heard(up, r, time.Now().Add(-helloLately)) { // a tunnel that is new, or one whose peer leaves questions unanswered
		return true
	}
	came, _ := e.askPeer(ctx, r)
	return came != noAnswer
}

// askBothWays asks a peer on the control channel and, at the same time, inside the tunnel. A peer may answer only one.
func (e *Executor) askBothWays(ctx context.Context, r supervisor.Recover) (askResult, error) {
	inside := make(chan bool, 1)
	go func() { inside <- e.anyAnswers(ctx, r.Inside) }()
	came, err := e.askPeer(ctx, r)
	if <-inside {
		return answered, nil
	}
	return came, err
}

// anyAnswers sends echo requests through links, each a few times, and reports whether a reply comes.
func (e *Executor) anyAnswers(ctx context.Context, all []probe.Request) (any bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	replies := make(chan bool)
	for i := range asks * len(all) {
		go func() {
			one := all[i/asks]
			one.Timeout = lookTime
			late := time.Duration(i%asks) * insidePause
			replies <- wake.After(ctx, late) == nil && e.pinger.Echo(ctx, one).Err == nil
		}()
	}
	for range asks * len(all) {
		if <-replies {
			any = true
			cancel() // the others
		}
	}
	return any
}

// askPeer asks a peer for a control message, a few times. The error is that of ctx.
func (e *Executor) askPeer(ctx context.Context, r supervisor.Recover) (askResult, error) {
	began := time.Now()
	came := unasked
	for range asks {
		if !e.guard.Ask(selector(r)) {
			return came, nil
		}
		came = noAnswer
		if err := wake.After(ctx, time.Second); err != nil {
			return came, err
		}
		if heard(e.guard.Channels(), r, began) {
			return answered, nil
		}
	}
	return came, nil
}

// closing reports whether a StopCCN to the LAC's peer still waits for its acknowledgement, as far as the Hello guard
// has seen.
func closing(channels []helloguard.Channel, r supervisor.Recover) bool {
	return slices.ContainsFunc(channels, func(c helloguard.Channel) bool { return concerns(c, r) && c.Closing })
}

// heard reports whether a control message of the LAC's peer has come in since then.
func heard(channels []helloguard.Channel, r supervisor.Recover, since time.Time) bool {
	return slices.ContainsFunc(channels, func(c helloguard.Channel) bool {
		return concerns(c, r) && c.Heard.After(since)
	})
}

// selector selects the control connections that can be the LAC's.
func selector(r supervisor.Recover) helloguard.Selector {
	return helloguard.Selector{Owner: r.To.Process, Peer: r.Peer, LocalID: r.TunnelID}
}

// concerns reports whether a control connection can be the LAC's. A control connection with an unknown owner can:
// recovery does not give up a tunnel that may be alive.
func concerns(c helloguard.Channel, r supervisor.Recover) bool {
	return selector(r).Selects(c.Connection) && (c.Owner == r.To.Process || c.Owner == procfs.ID{})
}
