package xl2tpd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// DefaultHelper is the socket of the helper's unit.
const DefaultHelper = "/run/xl2tpd-keepalive-control"

// maxRequest is longer than any request: a verb, a space, a name, a newline.
const maxRequest = maxLACName + 3

// done is the helper's answer when xl2tpd has taken a command.
const done = "done"

// Helper has a process that is root write into xl2tpd's control pipe, which is
// root's alone. Its methods are those of Control, and may be called from many
// goroutines.
type Helper struct {
	Socket string // empty: DefaultHelper
}

// Connect is Control.Connect.
func (h Helper) Connect(ctx context.Context, lac string) error { return h.ask(ctx, 'c', lac) }

// Disconnect is Control.Disconnect.
func (h Helper) Disconnect(ctx context.Context, lac string) error { return h.ask(ctx, 'd', lac) }

func (h Helper) ask(ctx context.Context, verb byte, lac string) error {
	if err := CheckLAC(lac); err != nil {
		return err
	}
	path := h.Socket
	if path == "" {
		path = DefaultHelper
	}
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("%s: is xl2tpd-keepalive-control.socket active? (%w)", path, err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := fmt.Fprintf(c, "%c %s\n", verb, lac); err != nil {
		return fmt.Errorf("%s: %w", path, errors.Join(ctx.Err(), err))
	}
	answer, err := bufio.NewReader(io.LimitReader(c, 1<<10)).ReadString('\n')
	switch answer = strings.TrimSpace(answer); {
	case err != nil:
		return fmt.Errorf("%s: no answer: %w", path, errors.Join(ctx.Err(), err))
	case answer != done:
		return errors.New(answer)
	}
	return nil
}

// Help is the other end: it reads one request and writes the answer. The error
// is about the request, and has been told to whoever has asked.
func Help(ctx context.Context, in io.Reader, out io.Writer, c *Control) error {
	err := obey(ctx, in, c)
	answer := done
	if err != nil {
		answer = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	_, told := fmt.Fprintln(out, answer)
	return errors.Join(err, told)
}

func obey(ctx context.Context, in io.Reader, c *Control) error {
	request, err := bufio.NewReader(io.LimitReader(in, maxRequest)).ReadString('\n')
	if err != nil {
		return fmt.Errorf("no request, or none that ends within %d bytes", maxRequest)
	}
	verb, lac, _ := strings.Cut(strings.TrimSuffix(request, "\n"), " ")
	switch verb {
	case "c":
		return c.Connect(ctx, lac)
	case "d":
		return c.Disconnect(ctx, lac)
	}
	return fmt.Errorf("no such request: %.20q", request)
}
