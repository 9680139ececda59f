package xl2tpd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/procfs"
)

// defaultHelper is the socket of the helper's unit.
const defaultHelper = "/run/xl2tpd-keepalive-control"

const (
	maxPipe = 4096 // PATH_MAX
	maxID   = 10 + 1 + 20

	// maxRequest is longer than any request: VERB PID START PIPE NAME and a newline.
	maxRequest = 1 + 1 + maxID + 1 + maxPipe + 1 + maxLACName + 1
)

// ErrNoAnswer says that nobody knows whether xl2tpd has taken the command: the helper has not said.
var ErrNoAnswer = errors.New("no answer")

// takeBackTime is how long the helper may take to take a command back. A helper that has not begun by then finds the request
// given up, and does nothing.
const takeBackTime = 500 * time.Millisecond

// done is the helper's reply when xl2tpd has taken a command.
const done = "done"

// Helper asks a process of root to write into an xl2tpd's control pipe, which only
// root may write to. Its methods are those of Control, and are safe for concurrent
// use. If a context ends, they wait up to 500 ms for the helper, to say whether xl2tpd
// has taken the command. ErrNoAnswer leaves that open.
type Helper struct {
	Socket string // empty: defaultHelper
}

// Connect is Control.Connect.
func (h Helper) Connect(ctx context.Context, t Target, lac string) error {
	return h.ask(ctx, 'c', t, lac)
}

// Disconnect is Control.Disconnect.
func (h Helper) Disconnect(ctx context.Context, t Target, lac string) error {
	return h.ask(ctx, 'd', t, lac)
}

func (h Helper) ask(ctx context.Context, verb byte, t Target, lac string) error {
	if err := CheckLAC(lac); err != nil {
		return err
	}
	if err := checkPath(t.Pipe); err != nil {
		return err
	}
	path := h.Socket
	if path == "" {
		path = defaultHelper
	}
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("%s: is xl2tpd-keepalive-control.socket active? (%w)", path, err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { giveUp(c) })
	defer stop()
	if _, err := fmt.Fprintf(c, "%c %s %s %s\n", verb, t.Process, t.Pipe, lac); err != nil {
		return fmt.Errorf("%s: %w", path, errors.Join(ctx.Err(), err))
	}
	answer, err := bufio.NewReader(io.LimitReader(c, 1<<10)).ReadString('\n')
	switch answer = strings.TrimSpace(answer); {
	case err != nil:
		return fmt.Errorf("%s: %w: %w", path, ErrNoAnswer, errors.Join(ctx.Err(), err))
	case answer != done:
		return errors.New(answer)
	}
	return nil
}

// giveUp lets the helper see that a request is given up: it takes the command back then, or says that xl2tpd has it.
func giveUp(c net.Conn) {
	if c, ok := c.(*net.UnixConn); ok {
		c.CloseWrite()
	}
	c.SetDeadline(time.Now().Add(takeBackTime))
}

// ServeRequest is the helper's side: it reads one request, serves it and writes the reply.
// The error is the one that the reply contains.
func ServeRequest(ctx context.Context, in io.Reader, out io.Writer, c *Control) error {
	err := serveRequest(ctx, in, c)
	answer := done
	if err != nil {
		answer = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	_, told := fmt.Fprintln(out, answer)
	return errors.Join(err, told)
}

func serveRequest(ctx context.Context, in io.Reader, c *Control) error {
	request, err := bufio.NewReader(io.LimitReader(in, maxRequest)).ReadString('\n')
	if err != nil {
		return fmt.Errorf("no request, or none that ends within %d bytes", maxRequest)
	}
	request = strings.TrimSuffix(request, "\n")
	f := strings.Split(request, " ")
	if len(f) < 5 {
		return fmt.Errorf("no such request: %.20q; the service and its helper differ in version: systemctl restart xl2tpd-keepalive", request)
	}
	t := Target{Pipe: f[3]}
	if t.Process, err = procfs.ParseID(f[1] + " " + f[2]); err != nil {
		return err
	}
	if err := checkPath(t.Pipe); err != nil {
		return err
	}
	lac := strings.Join(f[4:], " ")
	switch f[0] {
	case "c":
		return c.Connect(ctx, t, lac)
	case "d":
		return c.Disconnect(ctx, t, lac)
	}
	return fmt.Errorf("no such request: %.20q", request)
}

// checkPath refuses a path that cannot be that of a control pipe.
func checkPath(pipe string) error {
	switch {
	case !filepath.IsAbs(pipe):
		return fmt.Errorf("control pipe %.99q: only a whole path will do; start xl2tpd with one behind -C", pipe)
	case strings.ContainsFunc(pipe, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return fmt.Errorf("control pipe %.99q: it has a space or a control character; start xl2tpd with another -C", pipe)
	case len(pipe) > maxPipe:
		return fmt.Errorf("control pipe %.20q...: a path of %d bytes, %d will do", pipe, len(pipe), maxPipe)
	}
	return nil
}
