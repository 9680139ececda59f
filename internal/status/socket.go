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
)

// DefaultSocket is where a report can be read.
const DefaultSocket = "/run/xl2tpd-keepalive/status"

const (
	mode       = 0o660
	maxReaders = 16              // at once; more have to wait
	patience   = 5 * time.Second // with one reader
	maxReport  = 64 << 20        // bytes; a few thousand tunnels take one or two
)

// Server hands a report to everyone who connects to a Unix socket: it writes one
// JSON document and hangs up. It never reads, so there is nothing to attack.
type Server struct {
	Path   string
	Report func(context.Context) (Report, error)
	Ready  func() // called once readers may come
}

// Run serves until ctx ends, then returns its error and leaves no socket behind.
func (s *Server) Run(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(s.Path), 0o755); err != nil {
		return fmt.Errorf("status socket: %w", err)
	}
	l, err := Listen(s.Path)
	if err != nil {
		return fmt.Errorf("status socket: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	s.Ready()
	var wg sync.WaitGroup
	defer wg.Wait()
	readers := make(chan struct{}, maxReaders)
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("status socket: %w", err)
		}
		readers <- struct{}{}
		wg.Go(func() {
			s.serve(ctx, c)
			<-readers
		})
	}
}

func (s *Server) serve(ctx context.Context, c net.Conn) {
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	r, err := s.Report(ctx)
	if err != nil {
		return // the reader sees an empty answer
	}
	json.NewEncoder(c).Encode(r) // if the reader has gone, so be it
}

// Listen opens a Unix socket for our user and group, which is the unit's Group=. It
// takes the place of one that an earlier life has left, and of nothing else.
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

// Read reads a report from the socket of a Server. Its errors say what to do.
func Read(ctx context.Context, path string) (Report, error) {
	var r Report
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, syscall.EACCES):
		return r, fmt.Errorf("%s: permission denied (be root or in the socket's group, adm)", path)
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return r, fmt.Errorf("%s: xl2tpd-keepalive is not running (systemctl start xl2tpd-keepalive)", path)
	case err != nil:
		return r, err
	}
	defer c.Close()
	if at, ok := ctx.Deadline(); ok {
		c.SetDeadline(at)
	}
	err = json.NewDecoder(io.LimitReader(c, maxReport)).Decode(&r)
	if err != nil {
		return r, fmt.Errorf("%s: no report (journalctl -u xl2tpd-keepalive): %w", path, err)
	}
	return r, nil
}
