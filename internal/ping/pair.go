// Package ping pings a tunnel twice at the same time: through it, and outside it. The figures show which half of the
// path is slow or loses packets.
package ping

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/probe"
)

// replyTime is how long an echo reply may take. A later one counts as lost.
const replyTime = 5 * time.Second

// Options say how both halves are pinged.
type Options struct {
	Count        int // 0: until the context ends
	Interval     time.Duration
	Size         int // bytes of data
	DontFragment bool
}

// A Pair holds the two pings of one tunnel. The inner one goes through pppN, and so over the outer path too.
type Pair struct {
	tunnel       *status.Tunnel
	inner, outer *half // outer is nil if the peer's address is not known
}

// half is one of the two pings.
type half struct {
	name string
	probe.Ping
	figures *probe.Stats // nil: it has not ended yet
	unsent  string       // why the latest request could not be sent; empty: each could
}

// NewPair returns the two pings of a tunnel. Nothing is sent yet.
func NewPair(t *status.Tunnel, o Options) *Pair {
	newHalf := func(name, link string, source, target netip.Addr) *half {
		return &half{name: name, Ping: probe.Ping{
			Link: link, Source: source, Target: target,
			Count: o.Count, Interval: o.Interval, Size: o.Size, DontFragment: o.DontFragment, Wait: replyTime,
		}}
	}
	p := &Pair{tunnel: t, inner: newHalf("inner", t.Link.Name, t.Link.Local, t.Link.EchoTarget())}
	if t.Peer.IsValid() {
		p.outer = newHalf("outer", "", t.Local, t.Peer)
	}
	return p
}

func (p *Pair) halves() []*half {
	if p.outer == nil {
		return []*half{p.inner}
	}
	return []*half{p.inner, p.outer}
}

// Run pings both halves side by side, with a line for each reply, until both are done or ctx ends.
func (p *Pair) Run(ctx context.Context, w io.Writer, lang *message.Language) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.head(w, lang)
	var mu sync.Mutex // guards w
	var done sync.WaitGroup
	errs := make([]error, len(p.halves()))
	for i, h := range p.halves() {
		h.Notify = func(pong probe.Pong) {
			mu.Lock()
			defer mu.Unlock()
			h.line(w, pong)
		}
		done.Go(func() {
			if errs[i] = h.Run(ctx); errs[i] != nil {
				cancel()
			}
		})
	}
	done.Wait()
	for _, h := range p.halves() {
		h.figures = h.Stats()
	}
	return errors.Join(slices.Compact(errs)...)
}

// Answered reports whether the inner ping had a reply.
func (p *Pair) Answered() bool { return p.inner.figures.Received > 0 }
