package vici

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"

	govici "github.com/strongswan/govici/vici"

	texts "xl2tpd-keepalive/internal/message"
)

// Deadlines for charon's answer. A list waits for each SA that charon is working on
// at the moment. Without a deadline govici waits 5 s.
const (
	subscribeTimeout = 4 * time.Second
	listTimeout      = 10 * time.Second
)

// session is a govici session with a connection that can be closed at any time.
type session struct {
	*govici.Session
	conn *conn
}

// dialer is net.Dialer.DialContext, unless a test replaces it.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// open connects to the first socket that exists; without sockets, the default ones.
func open(ctx context.Context, sockets []string, dial dialer, counted bool) (*session, error) {
	sockets = orDefault(sockets)
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	for _, socket := range sockets {
		c, err := dial(ctx, "unix", socket)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, unreachable(socket, err)
		}
		s := &session{conn: newConn(c, counted)}
		s.Session, err = govici.NewSession(govici.WithDialContext(
			func(context.Context, string, string) (net.Conn, error) { return s.conn, nil }))
		return s, err
	}
	return nil, noSocket(sockets[0])
}

func orDefault(sockets []string) []string {
	if len(sockets) == 0 {
		return []string{"/run/charon.vici", "/var/run/charon.vici"}
	}
	return sockets
}

// noSocket is the error when no socket exists. Its text is the path of the first one.
type noSocket string

func (path noSocket) Error() string { return path.Text().String() }

func (path noSocket) Text() texts.Text {
	return texts.Sprintf("%s: no such socket: is strongswan running with the vici plugin (Debian: package strongswan-swanctl)?", string(path))
}

// unreachable returns the error for a socket that refuses the connection, with a remedy.
func unreachable(socket string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return texts.Errorf("%s: %v: run as root or in the socket's group (charon.group in strongswan.conf)", socket, fs.ErrPermission)
	case errors.Is(err, syscall.ECONNREFUSED):
		return texts.Errorf("%s: %v: charon has gone and left its socket; is strongswan running?", socket, syscall.ECONNREFUSED)
	default:
		return texts.Errorf("%s: %v", socket, err)
	}
}

// subscribe asks for events. Events before it returns are lost, so the caller must
// list afterwards.
func (s *session) subscribe(ctx context.Context, events ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, subscribeTimeout,
		fmt.Errorf("charon has not answered within %s", subscribeTimeout))
	defer cancel()
	// govici's Subscribe takes no context: it ends with its connection.
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()

	s.conn.dropEvents.Store(true)
	err := s.Subscribe(events...)
	s.conn.dropEvents.Store(false)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("vici: subscribe: %w", err)
	}
	return nil
}

// list asks for the SAs that in selects; nil: all. After an error the session is
// unusable.
func (s *session) list(ctx context.Context, in *govici.Message) ([]SA, error) {
	var sas []SA
	err := s.stream(ctx, "list-sas", "list-sa", in, func(m *govici.Message) { sas = append(sas, parse(m)...) })
	return sas, err
}

// stream sends a command and passes on each event of its answer. The session must
// be a counted one. After an error the session is unusable.
func (s *session) stream(ctx context.Context, command, event string, in *govici.Message, each func(*govici.Message)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, listTimeout,
		fmt.Errorf("charon has not answered within %s", listTimeout))
	defer cancel()
	for m, err := range s.CallStreaming(ctx, command, event, in) {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("vici: %s: %w", command, err)
		}
		s.conn.fetched()
		each(m)
	}
	return nil
}
