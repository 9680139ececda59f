// Package socket connects the service, which sees the control messages, and the command that shows them.
package socket

import (
	"context"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/status"
)

// DefaultPath is the path of the service's socket for traces.
const DefaultPath = "/run/xl2tpd-keepalive/trace"

// Request is what a client asks for: one byte.
type Request byte

const (
	Live     Request = 'l' // each message from now on, without secrets
	Secrets  Request = 's' // the same with secrets; only root gets them
	Recorded Request = 'r' // what the flight recorders have
	Ended    Request = 'e' // the same, of tunnels that have ended
)

const (
	maxClients    = 8 // at the same time; more have to wait
	clientTimeout = 5 * time.Second
)

// Source is where the messages come from: the Hello guard.
type Source interface {
	Watch(secrets bool) (*controltrace.Watcher, error)
	Recordings() []controltrace.Recording
	Works() bool // the guard sees messages
}

// Server serves traces on a Unix socket.
type Server struct {
	Path   string
	Source Source
	Ready  func() // called once the socket listens
}

// Run serves until ctx ends, then returns its error and leaves no socket behind.
func (s *Server) Run(ctx context.Context) error {
	if err := status.ServeSocket(ctx, s.Path, maxClients, s.Ready, s.serve); ctx.Err() == nil {
		return fmt.Errorf("trace socket: %w", err)
	}
	return ctx.Err()
}

func (s *Server) serve(ctx context.Context, c net.Conn) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	var asked [1]byte
	c.SetReadDeadline(time.Now().Add(clientTimeout))
	if _, err := c.Read(asked[:]); err != nil {
		return
	}
	c.SetReadDeadline(time.Time{})
	switch r := Request(asked[0]); r {
	case Recorded, Ended:
		s.sendRecordings(c, r == Ended)
	case Live, Secrets:
		s.sendLive(ctx, c, r == Secrets && isRoot(c))
	}
}

func (s *Server) sendRecordings(c net.Conn, ended bool) {
	var frames []byte
	for _, g := range s.Source.Recordings() {
		if ended && g.Ended.IsZero() {
			continue
		}
		frames = controltrace.AppendRecording(frames[:0], g)
		c.SetWriteDeadline(time.Now().Add(clientTimeout))
		if _, err := c.Write(frames); err != nil {
			return
		}
	}
}

// sendLive sends each message until the client goes.
func (s *Server) sendLive(ctx context.Context, c net.Conn, secrets bool) {
	if !s.Source.Works() {
		c.Write(controltrace.NoGuard()) // an error means that the client has gone
		return
	}
	w, err := s.Source.Watch(secrets)
	if err != nil {
		return // the client sees that the service closes the connection
	}
	defer w.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		c.Read(make([]byte, 1)) // it says nothing more, so this is its end
		cancel()
	}()
	// So that the client knows that it sees all from now on.
	if _, err := c.Write(controltrace.Begin()); err != nil {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.Wake():
		}
		c.SetWriteDeadline(time.Now().Add(clientTimeout))
		if _, err := c.Write(w.Take()); err != nil {
			return
		}
	}
}

// isRoot reports whether the client's process is root's.
func isRoot(c net.Conn) bool {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return false
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return false
	}
	root := false
	_ = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		root = err == nil && cred.Uid == 0
	})
	return root
}
