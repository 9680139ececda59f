package ping

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/probe"
)

// head prints which addresses are pinged, and how.
func (p *Pair) head(w io.Writer, lang *message.Language) {
	for _, h := range p.halves() {
		way := message.Text("outside the tunnel")
		if h.Link != "" {
			way = message.Sprintf("through %s", status.Printable(h.Link))
		}
		if h.Source.IsValid() {
			way = message.Sprintf("%s from %v", way, h.Source)
		}
		fmt.Fprintln(w, lang.Sprintf("%s %v %s, %d bytes of data", h.name, h.Target, way, h.Size))
	}
	if p.outer == nil {
		fmt.Fprintln(w, lang.Text("outer: the peer's address is not known"))
	}
}

// line prints the result of an echo request, and records why one could not be sent.
func (h *half) line(w io.Writer, pong probe.Pong) {
	if pong.Err == nil {
		fmt.Fprintf(w, "%s %d bytes from %v: icmp_seq=%d time=%s ms\n", h.name, pong.Size, h.Target, pong.Seq, ms(pong.RTT))
		return
	}
	if !errors.Is(pong.Err, probe.ErrTimeout) {
		h.unsent = pong.Err.Error()
	}
	fmt.Fprintf(w, "%s %v: icmp_seq=%d %v\n", h.name, h.Target, pong.Seq, pong.Err)
}

// Summary writes the figures of both halves, and the finding.
func (p *Pair) Summary(w io.Writer, lang *message.Language) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n--- %s ---\n", lang.Sprintf("%s, times in ms", p.tunnel.Title()))
	fmt.Fprintf(&b, "%5s %6s %8s %7s %9s %9s %9s %9s %9s\n", "", "sent", "received", "loss", "min", "avg", "max", "mdev", "p99")
	for _, h := range p.halves() {
		s := h.figures
		fmt.Fprintf(&b, "%5s %6d %8d %7s", h.name, s.Sent, s.Received, percent(s))
		for _, d := range []time.Duration{s.Min, s.Avg(), s.Max, s.MDev(), s.P99()} {
			cell := "-"
			if s.Received > 0 {
				cell = ms(d)
			}
			fmt.Fprintf(&b, " %9s", cell)
		}
		b.WriteByte('\n')
	}
	if says := p.finding(); says != "" {
		fmt.Fprintln(&b, lang.Text(says))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*1000) }

func percent(s *probe.Stats) string { return fmt.Sprintf("%.1f %%", 100*s.Loss()) }

// Comparison is what --json prints.
type Comparison struct {
	Name     string       `json:"name"`
	Instance string       `json:"instance,omitempty"`
	Link     string       `json:"link"`
	Inner    *Figures     `json:"inner"`
	Outer    *Figures     `json:"outer"`   // null: the peer's address is not known
	Finding  message.Text `json:"finding"` // empty: the figures do not say which half is worse
}

// Figures are the figures of one half of a Pair: outside the tunnel, or inside it.
type Figures struct {
	Target   netip.Addr      `json:"target"`
	Source   netip.Addr      `json:"source,omitzero"`
	Sent     int             `json:"sent"`
	Received int             `json:"received"`
	Lost     int             `json:"lost"`
	Min      *status.Seconds `json:"min"` // the times are null without a reply
	Avg      *status.Seconds `json:"avg"`
	Max      *status.Seconds `json:"max"`
	MDev     *status.Seconds `json:"mdev"`
	P99      *status.Seconds `json:"p99"`
	Unsent   string          `json:"unsent,omitempty"` // why the latest request could not be sent
}

// JSON writes the figures of both halves, and the finding, for programs.
func (p *Pair) JSON(w io.Writer) error {
	return json.NewEncoder(w).Encode(Comparison{
		Name: p.tunnel.Name, Instance: p.tunnel.Instance, Link: p.tunnel.Link.Name,
		Inner: p.inner.result(), Outer: p.outer.result(), Finding: p.finding(),
	})
}

// result returns the figures; nil if there is no such half.
func (h *half) result() *Figures {
	if h == nil {
		return nil
	}
	s := h.figures
	f := &Figures{Target: h.Target, Source: h.Source, Sent: s.Sent, Received: s.Received, Lost: s.Lost(), Unsent: h.unsent}
	if s.Received > 0 {
		seconds := func(d time.Duration) *status.Seconds { return (*status.Seconds)(&d) }
		f.Min, f.Avg, f.Max, f.MDev, f.P99 = seconds(s.Min), seconds(s.Avg()), seconds(s.Max), seconds(s.MDev()), seconds(s.P99())
	}
	return f
}
