package vici

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	govici "github.com/strongswan/govici/vici"
)

const (
	commandTimeout = 30 * time.Second // without a deadline of the context
	// commandMargin is what charon gets less than that: for its answer to arrive,
	// and to end what the command has left behind.
	commandMargin = time.Second
)

// Commander has charon bring SAs up and down, each time by a session of its own.
// The zero value is ready; its methods may be called from many goroutines.
//
// Each takes as long as charon does, but no longer than the deadline of its
// context, or 30 s without one. Its errors give charon's own words.
type Commander struct {
	// Tests replace these; zero means the real thing.
	sockets []string
	dial    dialer
}

// Initiate brings up a CHILD SA of connection ike, with an IKE SA if there is
// none, and returns when it is installed. If there is one already, charon makes
// another one in IKEv1, and fails in IKEv2.
//
// An IKE SA that has not been established by then is ended: charon would go on
// sending at ever longer intervals (4, 7, 13, 23, 42, 76 s by default), and a
// later attempt would wait with it for the next. One that is established stays,
// even if its peer no longer knows it: see TerminateIKE. A wrong PSK looks like a
// dead peer in IKEv1.
func (c *Commander) Initiate(ctx context.Context, child, ike string) error {
	limited, cancel := limit(ctx)
	defer cancel()
	what := "initiate " + ike + "/" + child
	errmsg, err := c.call(limited, what, "initiate", "child", child, "ike", ike)
	switch {
	case errmsg != "":
		err = fmt.Errorf("vici: %s: %s", what, errmsg)
	case !errors.Is(ctx.Err(), context.Canceled): // done, or charon does not answer
		return err
	}
	// Although ctx may be at its end: nobody else ends it.
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandMargin)
	defer cancel()
	if c.endHalfOpen(rest, ike) != nil {
		return fmt.Errorf("%w; a half-open IKE SA may be left behind", err)
	}
	return err
}

// endHalfOpen ends what this side has begun to set up by a connection. A
// reauthentication in IKEv1 looks the same, but for the CHILD SAs that it takes along.
func (c *Commander) endHalfOpen(ctx context.Context, ike string) error {
	sas, err := c.list(ctx, "ike", ike)
	if err != nil {
		return err
	}
	for _, sa := range sas {
		if sa.State == "CONNECTING" && sa.Initiator && !slices.ContainsFunc(sa.Children, Child.Works) {
			if err := c.TerminateIKE(ctx, sa.UniqueID); err != nil {
				return err
			}
		}
	}
	return nil
}

// TerminateIKE ends an IKE SA and its CHILD SAs by SA.UniqueID, and returns when
// it has gone; one that is not there is no error. The peer is told. In IKEv1 it
// has nothing to answer to that; in IKEv2 charon waits for its answer, and ends
// the SA without one when the time is up.
func (c *Commander) TerminateIKE(ctx context.Context, uniqueID string) error {
	// Of anything but a number charon makes 0, which selects every SA.
	if n, err := strconv.ParseUint(uniqueID, 10, 32); err != nil || n == 0 {
		return fmt.Errorf("vici: terminate: %q is no id of an IKE SA", uniqueID)
	}
	limited, cancel := limit(ctx)
	defer cancel()
	what := "terminate IKE SA " + uniqueID
	errmsg, err := c.call(limited, what, "terminate", "ike-id", uniqueID, "force", "yes")
	if err == nil && errmsg != "" {
		// charon also calls it a failure if it was not there, or had to be ended
		// without an answer.
		var left []SA
		if left, err = c.list(limited, "ike-id", uniqueID); err == nil && len(left) > 0 {
			err = fmt.Errorf("vici: %s: %s, it is %s", what, errmsg, left[0].State)
		}
	}
	return err
}

// limit gives a command its deadline: without one, govici would end the session
// after 5 s, and charon would try for ever.
func limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, commandTimeout)
}

// call sends one command with keys and values in turn, and returns charon's
// words if it refuses or fails. An error says what was to be done.
func (c *Commander) call(ctx context.Context, what, command string, kv ...string) (errmsg string, err error) {
	s, err := open(ctx, c.sockets, c.dial, false)
	if err != nil {
		return "", err
	}
	defer s.Close()
	in, err := arguments(append(kv, "timeout", share(ctx), "loglevel", "0")...)
	if err != nil {
		return "", err
	}
	out, err := s.Call(ctx, command, in)
	if out == nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return "", fmt.Errorf("vici: %s: charon has not answered in time: %w", what, ctx.Err())
	}
	if out == nil {
		return "", fmt.Errorf("vici: %s: %w", what, err)
	}
	if text(out, "success") == "yes" {
		return "", nil
	}
	if errmsg = strings.Join(strings.Fields(text(out, "errmsg")), " "); errmsg == "" {
		errmsg = "charon refuses without a reason"
	}
	return errmsg, nil
}

// share is how long charon may take, in ms. 0 would mean for ever.
func share(ctx context.Context) string {
	end, _ := ctx.Deadline()
	rest := time.Until(end)
	return strconv.FormatInt(max(1, (rest-min(commandMargin, rest/2)).Milliseconds()), 10)
}

// list asks for the SAs that a key of list-sas selects.
func (c *Commander) list(ctx context.Context, key, value string) ([]SA, error) {
	s, err := open(ctx, c.sockets, c.dial, true)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	in, err := arguments(key, value)
	if err != nil {
		return nil, err
	}
	return s.list(ctx, in)
}

// arguments is a message of keys and values in turn.
func arguments(kv ...string) (*govici.Message, error) {
	m := govici.NewMessage()
	for i := 0; i+1 < len(kv); i += 2 {
		if err := m.Set(kv[i], kv[i+1]); err != nil {
			return nil, err
		}
	}
	return m, nil
}
