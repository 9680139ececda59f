package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"xl2tpd-keepalive/internal/message"
)

// DefaultSocket is the path of the service's socket.
const DefaultSocket = "/run/xl2tpd-keepalive/status"

const (
	mode          = 0o660
	maxReaders    = 16              // at the same time; more have to wait
	readerTimeout = 5 * time.Second // for one reader
	maxStatus     = 64 << 20        // bytes; a few thousand tunnels take one or two
)

// Server writes the status to each client of a Unix socket: one JSON document, then it
// closes the connection. It never reads, so clients can't send it anything harmful.
type Server struct {
	Path   string
	Status func(context.Context) (Status, error)
	Ready  func() // called once the socket listens
}

// Run serves until ctx ends, then returns its error and leaves no socket behind.
func (s *Server) Run(ctx context.Context) error {
	if err := ServeSocket(ctx, s.Path, maxReaders, s.Ready, s.serve); ctx.Err() == nil {
		return fmt.Errorf("status socket: %w", err)
	}
	return ctx.Err()
}

// ServeSocket listens on a Unix socket until ctx ends, and calls serve for each client, for at most that many at the
// same time. ready is called once the socket listens.
func ServeSocket(ctx context.Context, path string, most int, ready func(), serve func(context.Context, net.Conn)) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	l, err := Listen(path)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	ready()
	var wg sync.WaitGroup
	defer wg.Wait()
	clients := make(chan struct{}, most)
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		clients <- struct{}{}
		wg.Go(func() {
			serve(ctx, c)
			<-clients
		})
	}
}

func (s *Server) serve(ctx context.Context, c net.Conn) {
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, readerTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	r, err := s.Status(ctx)
	if err != nil {
		return // the reader sees an empty answer
	}
	json.NewEncoder(c).Encode(markedStatus(r)) // an error means that the reader has gone
}

// marked is a status on its way to a reader of this program. Texts are those of its texts that have arguments, with the
// marks around them. In the rest of the JSON the texts are plain.
type marked struct {
	Status
	Texts   []string `json:"texts,omitempty"`
	Details []detail `json:"details,omitempty"`
}

// detail is what a Problem's text does not say, in the order of Status.Problems. The reason has its marks.
type detail struct {
	Code   Code   `json:"code,omitempty"`
	Reason string `json:"reason,omitempty"`
}

func markedStatus(r Status) marked {
	m := marked{Status: r}
	for _, t := range r.texts() {
		if s := t.Marked(); s != t.String() {
			m.Texts = append(m.Texts, s)
		}
	}
	for _, p := range r.Problems {
		m.Details = append(m.Details, detail{p.Code, p.Reason.Marked()})
	}
	return m
}

// status returns the Status with the marks in its texts, and its problems with their details.
func (m marked) status() Status {
	known := map[string]message.Text{}
	for _, s := range m.Texts {
		known[message.Text(s).String()] = message.Text(s)
	}
	for _, t := range m.texts() {
		if with, ok := known[t.String()]; ok {
			*t = with
		}
	}
	for i, d := range m.Details[:min(len(m.Details), len(m.Problems))] {
		m.Problems[i].Code, m.Problems[i].Reason = d.Code, message.Text(d.Reason)
	}
	return m.Status
}

// Listen opens a Unix socket for this process's user and group, which is the unit's Group=. It
// replaces a socket that an earlier run has left, and nothing else.
func Listen(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("%s: another program listens there", path)
		}
		os.Remove(path)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Reasons why there is no status. Without permission the error is fs.ErrPermission.
var (
	ErrNotRunning = errors.New("the service is not running")
	errNoAnswer   = errors.New("the service does not answer")
)

// Dial connects to a socket of the service. Its errors say what to do.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, syscall.EACCES):
		return nil, message.Reword(fs.ErrPermission, "%s: permission denied (run this with sudo, or as a member of the group adm)", path)
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return nil, message.Reword(ErrNotRunning, "%s: xl2tpd-keepalive is not running (systemctl start xl2tpd-keepalive)", path)
	case err != nil:
		return nil, noAnswer(path, err)
	}
	return c, nil
}

// Read reads the status from a Server's socket. Its errors say what to do.
func Read(ctx context.Context, path string) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*readerTimeout)
	defer cancel()
	c, err := Dial(ctx, path)
	if err != nil {
		return Status{}, err
	}
	defer c.Close()
	if at, ok := ctx.Deadline(); ok {
		c.SetDeadline(at)
	}
	var m marked
	if err := json.NewDecoder(io.LimitReader(c, maxStatus)).Decode(&m); err != nil {
		return Status{}, noAnswer(path, err)
	}
	return m.status(), nil
}

func noAnswer(path string, err error) error {
	var syntax *json.SyntaxError
	var form *json.UnmarshalTypeError
	text := message.Sprintf("the service does not answer: %v", err)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		text = message.Sprintf("the service has not answered for %v", 2*readerTimeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		text = "the service is busy, its answer is empty or cut short"
	case errors.As(err, &syntax), errors.As(err, &form):
		text = "the answer is no status: another program, or another version, listens there"
	}
	return message.Reword(errors.Join(errNoAnswer, err), "%s: %s (systemctl status xl2tpd-keepalive)", path, text)
}
