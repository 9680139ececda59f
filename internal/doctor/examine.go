package doctor

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/vici"
)

// RoundTime is how long a round of checks may take.
const RoundTime = 30 * time.Second

// Examine makes every check.
func Examine(ctx context.Context, h *Host) []Finding {
	e := &checker{Host: h, ctx: ctx}
	e.sas = sync.OnceValues(func() ([]vici.SA, error) { return h.SAs(ctx) })
	e.status, e.statusErr = h.Status(ctx)
	if errors.Is(e.statusErr, fs.ErrPermission) {
		return []Finding{bad("xl2tpd-keepalive", "", message.TextOf(e.statusErr), asRoot)}
	}
	e.seen, e.seenErr = h.Xl2tpd(ctx)
	e.names = e.seen.Names()
	e.conns, e.viciErr = h.Connections(ctx)
	e.givenUp, e.journalErr = h.GivenUp(ctx)
	e.conf, e.confErr = config.Load(h.path(config.DefaultPath))
	return slices.Concat(
		e.service(), e.keepaliveConf(), guardChecks{e}.all(), e.savedRules(), strongSwanChecks{e}.all(), e.xl2tpds(), e.recovery(), e.modules(),
		e.redialOwners(), e.hellos(), tunnelChecks{e}.all(), mtuChecks{e}.all(),
	)
}

// The checks by their subject.
type (
	guardChecks      struct{ *checker }
	strongSwanChecks struct{ *checker }
	tunnelChecks     struct{ *checker }
	mtuChecks        struct{ *checker }
)

// checker is one round of checks, with the data that several checks need.
type checker struct {
	*Host
	ctx context.Context

	status     status.Status
	statusErr  error
	seen       xl2tpd.Snapshot
	seenErr    error
	names      []string // names of the instances
	conns      []vici.Connection
	viciErr    error
	sas        func() ([]vici.SA, error) // charon's SAs, asked for once
	givenUp    []time.Time
	journalErr error
	conf       *config.Config
	confErr    error
}
