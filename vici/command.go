package vici

import (
	"context"
	"errors"
	"fmt"
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
	Sockets []string // the first that exists is used; nil: /run/charon.vici, /var/run/charon.vici

	dial dialer
}

// Initiate brings up a CHILD SA of connection ike, with an IKE SA if there is
// none, and returns when it is installed. charon makes another one if there is
// one already.
//
// An IKE SA that has not been established by then is ended: charon would go on
// sending at ever longer intervals (4, 7, 13, 23, 42, 76 s by default), and a
// later attempt would wait with it for the next. One that is established stays,
// even if its peer no longer knows it: see TerminateIKE.
func (c *Commander) Initiate(ctx context.Context, child, ike string) error {
	limited, cancel := limit(ctx)
	defer cancel()
	errmsg, err := c.call(limited, "initiate", "child", child, "ike", ike)
	if errmsg == "" && err == nil {
		return nil
	}
	if err == nil {
		err = errors.New(errmsg)
	}
	err = fmt.Errorf("vici: initiate %s/%s: %w", ike, child, err)
	// Also if ctx was cancelled: nobody else ends it.
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandMargin)
	defer cancel()
	if failed := c.endHalfOpen(rest, ike); failed != nil {
		return fmt.Errorf("%w; and its half-open IKE SA is left behind: %w", err, failed)
	}
	return err
}

// endHalfOpen ends what this side has begun to set up by a connection.
func (c *Commander) endHalfOpen(ctx context.Context, ike string) error {
	sas, err := c.list(ctx, "ike", ike)
	if err != nil {
		return err
	}
	for _, sa := range sas {
		if sa.State == "CONNECTING" && sa.Initiator {
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
	errmsg, err := c.call(limited, "terminate", "ike-id", uniqueID, "force", "yes")
	if err == nil && errmsg != "" {
		// charon also calls it a failure if it was not there, or had to be ended
		// without an answer.
		var left []SA
		if left, err = c.list(limited, "ike-id", uniqueID); err == nil && len(left) > 0 {
			err = fmt.Errorf("%s, it is %s", errmsg, left[0].State)
		}
	}
	if err != nil {
		return fmt.Errorf("vici: terminate IKE SA %s: %w", uniqueID, err)
	}
	return nil
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
// words if it refuses or fails.
func (c *Commander) call(ctx context.Context, command string, kv ...string) (errmsg string, err error) {
	s, err := open(ctx, c.Sockets, c.dial, false)
	if err != nil {
		return "", err
	}
	defer s.Close()
	in, err := arguments(append(kv, "timeout", share(ctx), "loglevel", "0")...)
	if err != nil {
		return "", err
	}
	out, err := s.Call(ctx, command, in)
	if out == nil {
		return "", silent(ctx, err)
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
	s, err := open(ctx, c.Sockets, c.dial, true)
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

// silent is what to say about an answer that did not come.
func silent(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("charon has not answered in time: %w", ctx.Err())
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
