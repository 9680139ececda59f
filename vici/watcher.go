package vici

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"time"

	govici "github.com/strongswan/govici/vici"

	"xl2tpd-keepalive/internal/filewatch"
)

const (
	burst           = 50 * time.Millisecond // events come in bursts: one list for all
	cooldownFactor  = 4                     // or so many times as long as the last list took: with a thousand SAs there is always one,
	maxCooldown     = time.Second           // but no longer: charon may just have been slow
	transientResync = time.Second           // until the next list, when an SA begins to come or go
	resync          = 30 * time.Second      // until the next list otherwise
)

// ErrLibreswan is returned where Libreswan does IPsec. It has no VICI, and conflicts with strongSwan.
var ErrLibreswan = errors.New("Libreswan does IPsec here, and has no VICI")

// PlutoSocket exists while Libreswan's daemon runs.
const PlutoSocket = "/run/pluto/pluto.ctl"

// Watcher delivers snapshots of charon's SAs: at its start, after each change and
// rekeying, and each 30 s. While an SA is coming or going it also lists after 1, 3,
// 7 and 15 s: charon has no event for the end of that. Log and Deliver must be set.
type Watcher struct {
	Log     *slog.Logger
	Deliver func(Snapshot) // called by Run alone; must not block

	missing bool // there was no socket when Run was called last

	// Tests replace these; zero means the real thing.
	sockets []string
	dial    dialer
	pluto   string
}

// Run watches until ctx ends or charon goes, and returns the reason: ErrLibreswan if there is nothing to watch. It may be
// called again then. If there was no socket, it first waits for one, for 30 s at most.
func (w *Watcher) Run(ctx context.Context) error {
	if w.missing {
		awaitSocket(ctx, orDefault(w.sockets))
	}
	err := w.watch(ctx)
	w.missing = errors.As(err, new(noSocket))
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case (w.missing || errors.Is(err, syscall.ECONNREFUSED)) && exists(cmp.Or(w.pluto, PlutoSocket)):
		return ErrLibreswan
	}
	return err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// awaitSocket returns when one of the sockets may exist. On a host without strongSwan,
// it spares the tries to connect.
func awaitSocket(ctx context.Context, sockets []string) {
	created, err := filewatch.New()
	if err != nil {
		return // the caller's pauses have to do
	}
	defer created.Close()
	created.Check(sockets...)
	if slices.ContainsFunc(sockets, exists) {
		return
	}
	select {
	case <-ctx.Done():
	case <-created.C:
	case <-time.After(resync):
	}
}

func (w *Watcher) watch(ctx context.Context) error {
	events, err := open(ctx, w.sockets, w.dial, false)
	if err != nil {
		return err
	}
	defer events.Close()
	hints := make(chan govici.Event, 1) // one is enough: list again
	events.NotifyEvents(hints)
	if err := events.subscribe(ctx, "ike-updown", "child-updown", "ike-rekey", "child-rekey"); err != nil {
		return err
	}

	// A separate session for lists: in one session, answers and events disturb
	// each other.
	lists, err := open(ctx, w.sockets, w.dial, true)
	if err != nil {
		return err
	}
	defer lists.Close()
	w.Log.Debug("watching strongswan", "socket", lists.conn.RemoteAddr().String())

	for wait := transientResync; ; {
		began := time.Now()
		sas, err := lists.list(ctx, nil)
		if err != nil {
			return err
		}
		pause := max(burst, min(cooldownFactor*time.Since(began), maxCooldown))
		snap := Snapshot{SAs: sas}
		w.Deliver(snap)
		stable := snap.stable()
		if stable {
			wait = resync
		}
		hinted, err := next(ctx, wait, pause, hints)
		if err != nil {
			return err
		}
		if wait = min(2*wait, resync); hinted || stable {
			wait = transientResync
		}
	}
}

// next returns when it is time to list again: pause after a hint, or after wait.
func next(ctx context.Context, wait, pause time.Duration, hints <-chan govici.Event) (hinted bool, err error) {
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-time.After(wait):
		return false, nil
	case _, open := <-hints:
		if !open {
			return false, errGone
		}
	}
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-time.After(pause):
	}
	select {
	case _, open := <-hints:
		if !open {
			return false, errGone
		}
	default:
	}
	return true, nil
}

var errGone = errors.New("vici: charon has closed the connection")
