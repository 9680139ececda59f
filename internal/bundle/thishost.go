package bundle

import (
	"context"
	"crypto/rand"
	"os"
	"time"

	"xl2tpd-keepalive/internal/controltrace/socket"
	"xl2tpd-keepalive/internal/doctor"
)

// ThisHost asks this host for what a report has. version is the program's.
func ThisHost(ctx context.Context, version string, anonymous bool) Source {
	host := doctor.ThisHost()
	s := Source{Root: "/", Now: time.Now(), Version: version, Run: run}
	s.Hostname, _ = os.Hostname() // without one there is none to hide
	s.Status, s.StatusErr = host.Status(ctx)
	s.Recordings, s.RecordingsErr = socket.ReadRecordings(ctx, socket.DefaultPath, socket.Recorded)
	if seen, err := host.Xl2tpd(ctx); err == nil {
		s.Instances = seen.Instances
	}
	if conns, err := host.Connections(ctx); err == nil {
		for _, c := range conns {
			s.Names = append(s.Names, c.Name)
			s.Names = append(s.Names, c.RemoteAddrs...)
			for _, child := range c.Children {
				s.Names = append(s.Names, child.Name)
			}
		}
	}
	checks, cancel := context.WithTimeout(ctx, doctor.RoundTime)
	defer cancel()
	s.Findings = doctor.Examine(checks, host)
	if anonymous {
		s.AnonymousKey = make([]byte, 32)
		rand.Read(s.AnonymousKey) // it never fails
	}
	return s
}
