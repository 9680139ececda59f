package doctor

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"xl2tpd-keepalive/internal/clamp"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/vici"
)

const (
	// mtuTime is how long doctor's search in one tunnel may take. Where all is well it takes two round trips.
	mtuTime = 20 * time.Second

	// mtuTimeAsked is the same where a person asks for it: each silence costs up to two seconds, and some lines are slow.
	mtuTimeAsked = 90 * time.Second

	// mtuSearches is how many tunnels are looked at side by side.
	mtuSearches = 8

	// ethernet is the MTU of the hosts behind this one.
	ethernet = 1500
)

// MTU is what echo requests that must not be fragmented have shown of a tunnel's path.
type MTU struct {
	Inner    probe.PathMTU
	Outer    *probe.PathMTU // to the LNS, outside the tunnel; nil: not looked at, or not possible
	Err      error          // why Inner is not known, or not for certain
	Forwards bool           // this host forwards the packets of others into the tunnel
	Clamps   []clamp.Rule   // what clamps their TCP connections
	ClampErr error          // why that is not known

	link  string
	asked bool          // a person has asked for it
	limit time.Duration // of the search
	child vici.Child    // the CHILD SA of the tunnel
}

// all looks at each tunnel where a far end answers echo requests. A healthy tunnel costs two of them: one of the
// smallest size, and one as long as the link claims to take. Only if the second stays unanswered a search follows, and
// only that takes seconds. So each round of doctor can afford it.
func (c mtuChecks) all() []Finding {
	var due []*status.Tunnel
	for i := range c.status.Tunnels {
		if t := &c.status.Tunnels[i]; t.State == "alive" && t.Link != nil && !t.Link.Evidence.Reply.IsZero() {
			due = append(due, t)
		}
	}
	all := make([]Finding, len(due))
	var work errgroup.Group
	work.SetLimit(mtuSearches)
	for i, t := range due {
		work.Go(func() error {
			m := c.mtu(c.ctx, t, false)
			all[i] = c.mtuFinding(t, &m)
			return nil
		})
	}
	_ = work.Wait() // they return none
	return all
}

// MeasureMTU looks at the path of one tunnel, also outside the tunnel, and says what is wrong.
func MeasureMTU(ctx context.Context, h *Host, t *status.Tunnel) (MTU, Finding) {
	e := mtuChecks{&checker{Host: h, ctx: ctx}}
	e.seen, e.seenErr = h.Xl2tpd(ctx)
	e.names = e.seen.Names()
	m := e.mtu(ctx, t, true)
	return m, e.mtuFinding(t, &m)
}

// mtu measures one tunnel's path. The way outside the tunnel is measured first if a person has asked, and else only if
// the link claims too much: the search inside is then shorter.
func (c mtuChecks) mtu(ctx context.Context, t *status.Tunnel, asked bool) MTU {
	m := MTU{link: t.Link.Name, asked: asked, limit: mtuTime}
	if asked {
		m.limit = mtuTimeAsked
	}
	ctx, cancel := context.WithTimeout(ctx, m.limit)
	defer cancel()
	if asked {
		c.outside(ctx, t, &m)
	}
	m.Inner, m.Err = c.PathMTU(ctx, probe.Path{
		Link: t.Link.Name, Source: t.Link.Local, Target: t.Link.EchoTarget(),
		Likely: func(ctx context.Context) []int {
			if !asked {
				c.outside(ctx, t, &m)
			}
			return m.likely()
		},
	})
	m.Forwards = c.forwards(t.Link.Name)
	if m.Forwards {
		m.Clamps, m.ClampErr = c.Clamps(ctx, t.Link.Name)
	}
	return m
}

// outside measures the path to the LNS outside the tunnel, and looks for the CHILD SA. What fails stays unknown.
func (c mtuChecks) outside(ctx context.Context, t *status.Tunnel, m *MTU) {
	if all, err := c.SAs(ctx); err == nil {
		m.child = childOf(all, t)
	}
	if !t.Peer.IsValid() {
		return
	}
	outer, err := c.PathMTU(ctx, probe.Path{
		Source: t.Local, Target: t.Peer, Likely: func(context.Context) []int { return probe.LineMTUs },
	})
	if err == nil && outer.Passes > 0 {
		m.Outer = &outer
	}
}

// childOf returns the CHILD SA that carries a tunnel; the zero one if it is not known.
func childOf(all []vici.SA, t *status.Tunnel) vici.Child {
	for _, sa := range all {
		if t.SA == nil || sa.Name != t.SA.Name || sa.RemoteHost.Addr() != t.Peer {
			continue
		}
		for _, c := range sa.Children {
			if c.Works() {
				return c
			}
		}
	}
	return vici.Child{}
}

// likely returns what may pass inside, by what passes outside and what ESP, L2TP and PPP add.
func (m *MTU) likely() (sizes []int) {
	s, known := suiteOf(m.child)
	if m.Outer == nil || !known {
		return nil
	}
	for _, header := range l2tpHeaders {
		sizes = append(sizes, s.inner(m.Outer.Passes, header, m.child.Encap))
	}
	return sizes
}

// Overhead returns how much more passes outside the tunnel than inside; 0: not known, since something else limits what
// passes inside.
func (m *MTU) Overhead() int {
	if m.Outer == nil || !m.Inner.Limited() {
		return 0
	}
	return max(0, m.Outer.Passes-m.Inner.Passes)
}

// unbroken returns the longest packet whose ESP packet needs no fragments; 0: not known, or all that the link takes need
// none.
func (m *MTU) unbroken() int {
	s, known := suiteOf(m.child)
	if m.Outer == nil || !known || s.outer(m.Inner.Passes, l2tpHeader+pppHeader, m.child.Encap) <= m.Outer.Passes {
		return 0
	}
	return s.inner(m.Outer.Passes, l2tpHeader+pppHeader+2, m.child.Encap)
}

// clamped reports whether a rule keeps forwarded TCP connections within that MTU.
func (m *MTU) clamped(mtu int) bool {
	return slices.ContainsFunc(m.Clamps, func(r clamp.Rule) bool { return r.Fits(mtu) })
}

// unclamped reports whether this host forwards TCP connections with too long segments.
func (m *MTU) unclamped() bool {
	return m.Forwards && m.ClampErr == nil && m.Inner.Passes < ethernet && !m.clamped(m.Inner.Passes)
}

// forwards reports whether the kernel forwards packets into a link.
func (c mtuChecks) forwards(link string) bool {
	return c.read("/proc/sys/net/ipv4/conf/"+link+"/forwarding") == "1\n"
}

const mtuCheck = "path MTU"

func (c mtuChecks) mtuFinding(t *status.Tunnel, m *MTU) Finding {
	name := title(t)
	switch {
	case errors.Is(m.Err, probe.ErrPermission):
		return unknown(mtuCheck, name, message.TextOf(m.Err), asRoot)
	case errors.Is(m.Err, context.DeadlineExceeded):
		return unknown(mtuCheck, name, message.Sprintf("not found within %v; at least %d of the %d bytes that %s claims pass",
			m.limit, m.Inner.Passes, m.Inner.Claimed, m.link), command("xl2tpd-keepalive ping --mtu "+m.link))
	case m.Err != nil:
		return unknown(mtuCheck, name, message.TextOf(m.Err))
	case m.Inner.Passes == 0:
		return unknown(mtuCheck, name, "the far end answers not even the smallest echo request", otherTarget)
	case !m.Inner.Certain:
		return unknown(mtuCheck, name, message.Sprintf(
			"the tunnel loses too many echo requests; at least %d of the %d bytes that %s claims pass",
			m.Inner.Passes, m.Inner.Claimed, m.link))
	case m.Inner.Limited():
		return c.tooLong(name, t, m)
	}
	return c.allPasses(name, t, m)
}

// tooLong is the finding for a link that claims more than what passes.
func (c mtuChecks) tooLong(name string, t *status.Tunnel, m *MTU) Finding {
	text := message.Sprintf(
		"%s claims %d bytes, but only %d pass: larger packets are lost without a word, so pages and downloads hang",
		m.link, m.Inner.Claimed, m.Inner.Passes)
	if m.Inner.Told {
		text = message.Sprintf("%s claims %d bytes, but only %d pass: larger packets are refused",
			m.link, m.Inner.Claimed, m.Inner.Passes)
	}
	if add := m.Overhead(); add > 0 {
		text = message.Sprintf("%s; the path to the LNS takes %d, of which IPsec and L2TP need %d", text,
			m.Outer.Passes, add)
	}
	f := bad(mtuCheck, name, text, c.pppMTU(t, m.Inner.Passes)...)
	if m.unclamped() {
		f.Remedy = append(f.Remedy, clampLine(m))
	}
	if t.Yamaha() {
		f.Remedy = append(f.Remedy, "at the router, in the lines of its tunnel: `ip tunnel tcp mss limit auto`")
	}
	return f
}

// allPasses is the finding for a link that takes what it claims. Something may still be worth knowing for a person who
// asks. doctor does not say it: many hosts forward packets, and few of them into a tunnel.
func (c mtuChecks) allPasses(name string, t *status.Tunnel, m *MTU) Finding {
	text := message.Sprintf("%d bytes pass, as %s claims", m.Inner.Passes, m.link)
	var remedy []message.Text
	if size := m.unbroken(); size > 0 {
		text = message.Sprintf("%s; those over %d go in fragments, because the path to the LNS takes %d", text,
			size, m.Outer.Passes)
		remedy = append(remedy, "to spare the fragments, which some lines lose:")
		remedy = append(remedy, c.pppMTU(t, size)...)
	}
	if m.asked && m.unclamped() {
		text = message.Sprintf("%s; TCP that this host forwards is not clamped to that", text)
		remedy = append(remedy, message.Sprintf("%s, if pages hang for hosts behind this one", clampLine(m)))
	}
	if remedy != nil {
		return note(mtuCheck, name, text, remedy...)
	}
	return good(mtuCheck, name, "%s", text)
}
