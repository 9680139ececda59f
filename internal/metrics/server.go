package metrics

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/wake"
)

// Server serves /metrics at the address from the configuration.
type Server struct {
	Status func(context.Context) (status.Status, error)
	Ready  func() // called once the server listens as configured

	changed wake.Signal
	mu      sync.Mutex
	at      config.Listen
}

// Configure sets where the server listens from now on.
func (s *Server) Configure(at config.Listen) {
	s.mu.Lock()
	s.at = at
	s.mu.Unlock()
	s.changed.Send()
}

func (s *Server) where() config.Listen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

// Run serves until ctx ends, then returns its error. Any other error means that the
// server can't listen.
func (s *Server) Run(ctx context.Context) error {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector{s.Status})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	for {
		if err := s.serve(ctx, s.where(), mux); err != nil {
			return err
		}
	}
}

// serve listens at an address until another one is configured.
func (s *Server) serve(ctx context.Context, at config.Listen, handler http.Handler) error {
	failed := make(chan error, 1)
	if at.Network != "" {
		l, err := listen(at)
		if err != nil {
			return err
		}
		server := &http.Server{Handler: handler, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 1 << 14}
		var wg sync.WaitGroup
		defer wg.Wait()
		defer server.Close()
		wg.Go(func() { failed <- server.Serve(l) })
	}
	s.Ready()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return message.Errorf("metrics: %v", err)
		case <-s.changed.C():
			if s.where() != at {
				return nil
			}
		}
	}
}

func listen(at config.Listen) (l net.Listener, err error) {
	var number syscall.Errno
	if at.Network == "unix" {
		l, err = status.Listen(at.Address)
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
			err = message.Errorf("%v (the service may write to /run/xl2tpd-keepalive alone)", err)
		}
	} else if l, err = net.Listen(at.Network, at.Address); errors.As(err, &number) {
		err = message.Errorf("%s: %v", at.Address, number) // without Go's names of system calls
	}
	if err != nil {
		return nil, message.Errorf("metrics: %v", err)
	}
	return l, nil
}
