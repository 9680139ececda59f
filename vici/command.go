package vici

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	govici "github.com/strongswan/govici/vici"
)

const (
	commandTimeout = 30 * time.Second // if the context has no deadline
	// commandMargin is how much earlier charon's own timeout is. In that time the
	// answer arrives, and the Commander ends what the command has left behind.
	commandMargin = time.Second
)

// Commander makes charon bring SAs up and down. Each call uses its own session.
// The zero value is ready; its methods are safe for concurrent use.
//
// A call takes as long as charon does, but no longer than the deadline of its
// context, or 30 s without one. The errors contain charon's own messages.
type Commander struct {
	// Tests replace these; zero means the real thing.
	sockets []string
	dial    dialer
}

// Initiate brings up a CHILD SA of connection ike, and an IKE SA if there is none.
// It returns when the CHILD SA is installed. If there is one already, charon makes
// another one in IKEv1, and fails in IKEv2.
//
// If the IKE SA is not established in time, Initiate ends it. Otherwise charon would
// continue to send at growing intervals (4, 7, 13, 23, 42, 76 s by default), and a
// later attempt would have to wait for the next interval. An established IKE SA
// stays, even if the peer no longer has it: see TerminateIKE. In IKEv1 a wrong PSK
// looks like a dead peer.
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
	// Without ctx, which may have ended: nothing else would end the IKE SA.
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandMargin)
	defer cancel()
	if c.endHalfOpen(rest, ike) != nil {
		return fmt.Errorf("%w; a half-open IKE SA may be left behind", err)
	}
	return err
}

// endHalfOpen ends the IKE SAs of a connection that this side has initiated and that are
// not established. A reauthentication in IKEv1 looks the same, but has CHILD SAs.
func (c *Commander) endHalfOpen(ctx context.Context, ike string) error {
	sas, err := c.list(ctx, "ike", ike)
	if err != nil {
		return err
	}
	for _, sa := range sas {
		if sa.State == "CONNECTING" && sa.Initiator && !slices.ContainsFunc(sa.Children, Child.Works) {
			if err := c.TerminateIKE(ctx, sa.UniqueID, sa.Name, sa.RemoteHost.Addr()); err != nil {
				return err
			}
		}
	}
	return nil
}

// TerminateIKE ends an IKE SA and its CHILD SAs by SA.UniqueID, and returns when
// it is gone. An unknown id is no error. charon notifies the peer. In IKEv1 the
// peer sends no answer. In IKEv2 charon waits for the answer, and ends the SA
// without one after the timeout.
//
// A charon that was restarted counts from 1 again. So an SA that is not of that
// connection, or not with that remote address, is another one, and stays. The session
// ends with its charon: no other charon gets the command.
func (c *Commander) TerminateIKE(ctx context.Context, uniqueID, name string, remote netip.Addr) error {
	// charon reads anything but a number as 0, which selects every SA.
	if n, err := strconv.ParseUint(uniqueID, 10, 32); err != nil || n == 0 {
		return fmt.Errorf("vici: terminate: %q is no id of an IKE SA", uniqueID)
	}
	ctx, cancel := limit(ctx)
	defer cancel()
	s, err := open(ctx, c.sockets, c.dial, true)
	if err != nil {
		return err
	}
	defer s.Close()
	left := func() (SA, bool, error) { return s.find(ctx, uniqueID, name, remote) }
	if _, there, err := left(); err != nil || !there {
		return err
	}
	what := "terminate IKE SA " + uniqueID
	errmsg, err := s.command(ctx, what, "terminate", "ike-id", uniqueID, "force", "yes")
	if err == nil && errmsg != "" {
		// charon also reports a failure if the SA has just gone, or if it has ended the
		// SA without an answer.
		var sa SA
		var stays bool
		if sa, stays, err = left(); err == nil && stays {
			err = fmt.Errorf("vici: %s: %s, it is %s", what, errmsg, sa.State)
		}
	}
	return err
}

// find returns the IKE SA with an id, if it is of that connection and with that remote address. `terminate` can't do
// that: it ends the SAs with the id and those with the name (vici_control.c).
func (s *session) find(ctx context.Context, uniqueID, name string, remote netip.Addr) (sa SA, ok bool, err error) {
	in, err := arguments("ike-id", uniqueID)
	if err != nil {
		return SA{}, false, err
	}
	sas, err := s.list(ctx, in)
	i := slices.IndexFunc(sas, func(sa SA) bool { return sa.Name == name && sa.RemoteHost.Addr() == remote })
	if err != nil || i < 0 {
		return SA{}, false, err
	}
	return sas[i], true, nil
}

// limit gives a command its deadline. Without one, govici would end the session after
// 5 s, and charon would try without a limit.
func limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, commandTimeout)
}

// call sends one command in a session of its own.
func (c *Commander) call(ctx context.Context, what, command string, kv ...string) (errmsg string, err error) {
	s, err := open(ctx, c.sockets, c.dial, false)
	if err != nil {
		return "", err
	}
	defer s.Close()
	return s.command(ctx, what, command, kv...)
}

// command sends one command with alternating keys and values. errmsg is charon's message if it refuses or fails, and the
// error names the action.
func (s *session) command(ctx context.Context, what, command string, kv ...string) (errmsg string, err error) {
	in, err := arguments(append(kv, "timeout", charonTimeout(ctx), "loglevel", "0")...)
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

// charonTimeout returns how long charon may take, in ms, never 0: to charon 0 means no limit.
func charonTimeout(ctx context.Context) string {
	end, _ := ctx.Deadline()
	rest := time.Until(end)
	return strconv.FormatInt(max(1, (rest-min(commandMargin, rest/2)).Milliseconds()), 10)
}

// SAs returns charon's IKE SAs.
func (c *Commander) SAs(ctx context.Context) ([]SA, error) {
	s, err := open(ctx, c.sockets, c.dial, true)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.list(ctx, nil)
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

// arguments builds a message from alternating keys and values.
func arguments(kv ...string) (*govici.Message, error) {
	m := govici.NewMessage()
	for i := 0; i+1 < len(kv); i += 2 {
		if err := m.Set(kv[i], kv[i+1]); err != nil {
			return nil, err
		}
	}
	return m, nil
}
