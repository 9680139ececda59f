package socket

import (
	"context"
	"errors"
	"io"
	"net"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
)

// Client reads what the service sends.
type Client struct {
	conn net.Conn
	*controltrace.Reader
}

// Dial asks the service. Its errors are those of status.Dial.
func Dial(ctx context.Context, path string, r Request) (*Client, error) {
	c, err := status.Dial(ctx, path)
	if err != nil {
		return nil, err
	}
	if _, err := c.Write([]byte{byte(r)}); err != nil {
		c.Close()
		return nil, err
	}
	return &Client{c, controltrace.NewReader(c)}, nil
}

// Close ends the connection, and a Next that waits.
func (c *Client) Close() error { return c.conn.Close() }

// ReadRecordings returns what the service's flight recorders have. The request is Recorded or Ended.
func ReadRecordings(ctx context.Context, path string, r Request) (all []controltrace.Recording, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*clientTimeout)
	defer cancel()
	c, err := Dial(ctx, path, r)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	for {
		e, err := c.Next()
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case ctx.Err() != nil:
			return nil, message.Errorf("%s: the service has not answered for %v", path, 2*clientTimeout)
		case err != nil:
			return nil, message.Errorf("%s: the answer is cut short, or of another version: %v", path, err)
		case e.Begins:
			all = append(all, controltrace.Recording{Connection: e.Connection, Ended: e.Ended, Vendor: e.Vendor})
		case len(all) > 0:
			last := &all[len(all)-1]
			last.Records = append(last.Records, e.Record)
		}
	}
}
