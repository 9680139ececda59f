// Package trace shows the L2TP messages of tunnels: those that the Hello guard sees, or those that the kernel logs.
package trace

import (
	"context"
	"errors"
	"io"
	"sync"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/controltrace/socket"
	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
)

// Live says which messages are shown as they come.
type Live struct {
	Count   int  // 0: until the context ends
	Kernel  bool // ask the kernel, not the Hello guard
	Secrets bool // do not blank challenges, responses and hidden attributes
}

// source is where control messages come from.
type source interface {
	Next() (controltrace.Event, error)
	Close() error
}

// Follow shows messages as they come, until ctx ends or there were enough. warn is called with a text about what the
// user does not get, and with an error of the end.
func (l Live) Follow(ctx context.Context, which *Selection, to *Sink, warn func(error)) error {
	from, err := l.open(ctx, warn)
	if err != nil {
		return err
	}
	end := sync.OnceFunc(func() {
		if closed := from.Close(); closed != nil {
			warn(closed)
		}
	})
	before := queueDrops(helloguard.QueueFile)
	defer func() {
		if err := dropsSince(helloguard.QueueFile, before); err != nil {
			warn(err)
		}
	}()
	defer end() // and waits for the end that ctx has begun
	stop := context.AfterFunc(ctx, end)
	defer stop()
	for l.Count == 0 || to.count < l.Count {
		e, err := from.Next()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, io.EOF):
			return message.Errorf("the service has ended the trace: it stops, or too many traces run")
		case err != nil:
			return err
		}
		if err := to.event(ctx, which, e); err != nil {
			return err
		}
	}
	return nil
}

// open asks the service for messages, or the kernel if the guard sees none.
func (l Live) open(ctx context.Context, warn func(error)) (source, error) {
	if l.Kernel {
		return openKernelLog(ctx, l.Secrets, warn)
	}
	c, err := l.ask(ctx)
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, io.EOF):
		return nil, message.Errorf("the service has too many traces at one time")
	case errors.Is(err, status.ErrNotRunning):
		warn(message.Errorf("%s, so the kernel logs the messages", message.Text("the service is not running")))
	case errors.Is(err, controltrace.ErrNoGuard):
		warn(message.Errorf("%s, so the kernel logs the messages", message.Text("the Hello guard is off, or unavailable")))
	default:
		return nil, err
	}
	return openKernelLog(ctx, l.Secrets, warn)
}

// ask connects to the service, and waits until it is ready.
func (l Live) ask(ctx context.Context) (source, error) {
	request := socket.Live
	if l.Secrets {
		request = socket.Secrets
	}
	c, err := socket.Dial(ctx, socket.DefaultPath, request)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	_, err = c.Next()
	if stop(); err == nil {
		return c, nil
	}
	c.Close()
	return nil, err
}

// Last shows what the flight recorders have: of each tunnel that has ended, the latest one last, and then of each
// that is there.
func Last(ctx context.Context, which *Selection, to *Sink) error {
	all, err := socket.ReadRecordings(ctx, socket.DefaultPath, socket.Recorded)
	if err != nil {
		return err
	}
	for _, k := range all {
		name, wanted := which.name(ctx, k.Connection)
		if !wanted {
			continue
		}
		if err := to.recording(name, k); err != nil {
			return err
		}
	}
	return nil
}
