// Package recovery takes the steps that bring a tunnel back. The supervisor asks package policy which step
// comes next, and Executor takes it.
package recovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/wake"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

const (
	// StepTime is how long a step may take. charon sends its first messages again after 4 and 11 s.
	StepTime = 15 * time.Second

	// endTime is how long the end of an IKE SA may take.
	endTime = 4 * time.Second

	// dropTime is how long xl2tpd may take to hang up or to drop an attempt, once it has the command.
	dropTime = time.Second

	// answeredTime is for how long an answer of the LNS says that the attempt goes on, and has no link yet.
	answeredTime = 35 * time.Second

	// dropPoll is how often the Hello guard is asked meanwhile whether the attempt goes on.
	dropPoll = 50 * time.Millisecond

	// lookTime is how long an LNS may take to answer an echo request.
	lookTime = 2 * time.Second
)

// Charon is strongSwan's daemon.
type Charon interface {
	Connections(ctx context.Context) ([]vici.Connection, error)
	Initiate(ctx context.Context, child, ike string) error
	TerminateIKE(ctx context.Context, uniqueID, name string, remote netip.Addr) error
}

// Control makes an xl2tpd dial and hang up.
type Control interface {
	Connect(ctx context.Context, to xl2tpd.Target, lac string) error
	Disconnect(ctx context.Context, to xl2tpd.Target, lac string) error
}

// Guard is the Hello guard. It sees the control messages of every tunnel.
type Guard interface {
	Channels() []helloguard.Channel
	Ask(which helloguard.Selector) (asked bool)
	AckStops(which helloguard.Selector) (any bool)
	NoteHangUp(which helloguard.Selector) helloguard.HangUp
	NoteDrop(which helloguard.Selector) helloguard.HangUp
	EndHangUp(id helloguard.HangUp, taken bool)
	Dialling(daemon procfs.ID, peer netip.Addr) (is, known bool)
	Answered(daemon procfs.ID, peer netip.Addr, since time.Time) bool
	Refused(daemon procfs.ID, peer netip.Addr, since time.Time) bool
	Lapsed(daemon procfs.ID, peer netip.Addr, since time.Time) bool
}

// Names looks up host names.
type Names interface {
	// Resolve hints that an LNS may have another address. It does not block.
	Resolve(host string)
	LookupIPv4(ctx context.Context, host string) ([]netip.Addr, error)
}

// Pinger sends echo requests.
type Pinger interface {
	Echo(ctx context.Context, r probe.Request) probe.Result
}

// Executor takes the steps of recovery. Its methods may be called from many goroutines.
type Executor struct {
	charon  Charon
	control Control
	guard   Guard
	names   Names
	pinger  Pinger
	listing *listing
}

// New makes an executor.
func New(charon Charon, control Control, guard Guard, names Names, pinger Pinger) *Executor {
	return &Executor{
		charon: charon, control: control, guard: guard, names: names, pinger: pinger,
		listing: newListing(charon, names),
	}
}

// Do takes a step. The supervisor's Err variables list the errors that the core treats differently.
func (e *Executor) Do(ctx context.Context, r supervisor.Recover) error {
	ctx, cancel := context.WithTimeout(ctx, StepTime)
	defer cancel()
	e.names.Resolve(r.Host) // the LNS may have moved
	if r.LNS.IsValid() && errors.Is(probe.Route(r.LNS, r.From), probe.ErrNoRoute) {
		return policy.ErrNoRoute
	}
	switch r.Step {
	case policy.StepSecure:
		return e.secure(ctx, r)
	case policy.StepDial:
		return e.control.Connect(ctx, r.To, r.LAC.Name)
	case policy.StepRedial:
		return e.redial(ctx, r)
	case policy.StepRenew:
		return e.renew(ctx, r)
	case policy.StepHangUp:
		return e.hangUp(ctx, r)
	case policy.StepLook:
		return e.look(ctx, r.LNS, r.From)
	case policy.StepAsk:
		return e.ask(ctx, r)
	}
	return fmt.Errorf("no such step: %v", r.Step)
}

// secure initiates the CHILD SA with the LNS.
func (e *Executor) secure(ctx context.Context, r supervisor.Recover) error {
	ike, child, err := e.connection(ctx, r)
	if err != nil {
		return err
	}
	return e.charon.Initiate(ctx, child, ike)
}

// renew ends the IKE SA with the LNS, if there is one, and initiates it anew. It ends nothing if a tunnel that is alive
// needs that SA, or if strongSwan has no connection to initiate.
func (e *Executor) renew(ctx context.Context, r supervisor.Recover) error {
	if err := e.spareLiving(ctx, r); err != nil {
		return err
	}
	if !r.Up && !r.LastAttempt.IsZero() && e.answersAttempts(r) {
		return policy.ErrAnswers
	}
	if r.SA != "" && (e.anyAnswers(ctx, r.Beside) || !r.Up && e.carriesAnother(ctx, r)) {
		return policy.ErrSAInUse
	}
	ike, child, err := e.connection(ctx, r)
	if err != nil {
		return err
	}
	if r.SA != "" {
		if err := e.terminate(ctx, r); err != nil {
			return err
		}
	}
	return e.charon.Initiate(ctx, child, ike)
}

// answersAttempts reports whether the LNS has answered the latest attempt: with a tunnel, or by refusing one.
func (e *Executor) answersAttempts(r supervisor.Recover) bool {
	return heard(e.guard.Channels(), r, r.LastAttempt) || e.guard.Refused(r.To.Process, r.Peer, r.LastAttempt)
}

// connection finds strongSwan's connection for the LNS.
func (e *Executor) connection(ctx context.Context, r supervisor.Recover) (ike, child string, err error) {
	ike, child, ok, err := e.listing.find(ctx, r)
	switch {
	case err != nil:
		return "", "", err
	case !ok && r.IKE != "": // the tunnel must not go on in the clear
		return "", "", fmt.Errorf("strongSwan has no connection for the LNS any more, and there was %s: load it, or set recover = redial to go on without IPsec", r.IKE)
	case !ok:
		return "", "", policy.ErrNoConnection
	}
	return ike, child, nil
}

// terminate ends the IKE SA with the LNS. In IKEv2 charon waits for the answer of a peer that may be gone, and
// the new SA needs time too.
func (e *Executor) terminate(ctx context.Context, r supervisor.Recover) error {
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	return e.charon.TerminateIKE(ctx, r.SA, r.SAName, r.SAPeer)
}

// redial makes xl2tpd drop its attempt, if it makes one, and dial. Only the Hello guard knows
// whether xl2tpd makes an attempt, and only with the guard does xl2tpd drop it within dropTime.
//
// The attempt may end before xl2tpd reads the command. Then xl2tpd has planned a redial, and the
// command only prevents it until the next dial: xl2tpd would call a second time, and for each second
// call that the LNS ends it would plan another one (xl2tpd.c, control_handle_lac_disconnect and
// magic_lac_dial).
func (e *Executor) redial(ctx context.Context, r supervisor.Recover) error {
	began := time.Now()
	r.TunnelID = 0 // whatever comes of the attempt
	if err := e.dialling(r, began); err != nil {
		return err
	}
	if err := e.drop(ctx, r, began); err != nil {
		return err
	}
	closed, err := e.awaitClosed(ctx, r)
	if err == nil && !closed && e.guard.AckStops(selector(r)) { // of an LNS that has answered: the call would go into that tunnel
		err = wake.After(ctx, dropTime)
	}
	switch {
	case err != nil:
	case e.guard.Lapsed(r.To.Process, r.Peer, began):
		err = policy.ErrGaveUp
	default:
		err = e.control.Connect(ctx, r.To, r.LAC.Name)
	}
	if err != nil {
		return dropped(err)
	}
	return nil
}

// dialling returns an error unless xl2tpd makes an attempt that the LNS has not answered yet.
func (e *Executor) dialling(r supervisor.Recover, began time.Time) error {
	lately := began.Add(-answeredTime)
	switch is, known := e.guard.Dialling(r.To.Process, r.Peer); {
	case is:
		return nil
	case !known:
		return errors.New("xl2tpd may be dialling, and the Hello guard can't tell")
	case e.guard.Answered(r.To.Process, r.Peer, lately) && !e.guard.Lapsed(r.To.Process, r.Peer, lately):
		return policy.ErrAnswered
	}
	return policy.ErrRedialsLater
}

// drop makes xl2tpd drop its attempt. It takes the command back if the attempt ends, or is answered, before xl2tpd has read
// it, which may take seconds.
func (e *Executor) drop(ctx context.Context, r supervisor.Recover, began time.Time) error {
	note := e.guard.NoteDrop(selector(r))
	if note == 0 { // the attempt has just ended, or has just been answered
		return cmp.Or(e.dialling(r, began), policy.ErrRedialsLater)
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		defer stop()
		for wake.After(ctx, dropPoll) == nil {
			if err := e.dialling(r, began); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	err := e.told(e.control.Disconnect(ctx, r.To, r.LAC.Name), note)
	stop()
	why := <-ended
	if err == nil || errors.Is(err, policy.ErrHungUp) {
		return err
	}
	return cmp.Or(why, err)
}

// told notes what came of a command to hang up.
func (e *Executor) told(err error, note helloguard.HangUp) error {
	unknown := errors.Is(err, xl2tpd.ErrNoAnswer)
	e.guard.EndHangUp(note, err == nil || unknown)
	if unknown {
		return dropped(err)
	}
	return err
}

// awaitClosed gives xl2tpd dropTime to hang up, and the peer asks times as long to acknowledge that. It reports whether no
// StopCCN waits for its acknowledgement any more.
func (e *Executor) awaitClosed(ctx context.Context, r supervisor.Recover) (closed bool, err error) {
	for range asks {
		if err := wake.After(ctx, dropTime); err != nil {
			return false, err
		}
		if !closing(e.guard.Channels(), r) {
			return true, nil
		}
	}
	return false, nil
}

// hangUp makes xl2tpd close a tunnel. If the peer is dead, xl2tpd keeps the closing tunnel for 31 s
// and would place a new call inside it. The Hello guard therefore acknowledges the StopCCN for the
// peer.
func (e *Executor) hangUp(ctx context.Context, r supervisor.Recover) error {
	if err := e.spareLiving(ctx, r); err != nil {
		return err
	}
	if r.Dead {
		e.guard.AckStops(selector(r))
	}
	if err := e.disconnect(ctx, r); err != nil || r.Dead {
		return err
	}
	switch closed, err := e.awaitClosed(ctx, r); {
	case err != nil:
		return dropped(err)
	case closed:
		return nil
	}
	if !e.guard.AckStops(selector(r)) {
		return nil // xl2tpd still waits for the acknowledgement
	}
	return policy.ErrPeerDead
}

// disconnect makes xl2tpd hang up. It announces that to the Hello guard first: the StopCCN that follows is not an
// operator's.
func (e *Executor) disconnect(ctx context.Context, r supervisor.Recover) error {
	note := e.guard.NoteHangUp(selector(r))
	return e.told(e.control.Disconnect(ctx, r.To, r.LAC.Name), note)
}

// dropped is the error of a step that fails after xl2tpd has hung up.
func dropped(err error) error { return fmt.Errorf("%w, and then: %w", policy.ErrHungUp, err) }

// look sends an echo request to an LNS, outside the tunnel.
func (e *Executor) look(ctx context.Context, lns, from netip.Addr) error {
	return e.pinger.Echo(ctx, probe.Request{Source: from, Target: lns, Timeout: lookTime}).Err
}

// ask asks the peer of a silent link for a control message. It returns no error if the peer is
// dead.
func (e *Executor) ask(ctx context.Context, r supervisor.Recover) error {
	dead, err := e.confirmDead(ctx, r)
	if err == nil && !dead {
		return policy.ErrAlive
	}
	return err
}
