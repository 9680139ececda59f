package status

import (
	"fmt"
	"io"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/message"
)

// stateColours are SGR parameters (ECMA-48).
var stateColours = map[string]string{"alive": "32", "up": "36", "silent": "31", "down": "31", "off": "90"}

// states are the names of the states, for people.
var states = map[string]message.Text{"alive": "alive", "up": "up", "silent": "silent", "down": "down", "off": "off"}

// StateText returns the name of the tunnel's state.
func (t *Tunnel) StateText() message.Text {
	if name, known := states[t.State]; known {
		return name
	}
	return message.Data(t.State) // of another version
}

// Text writes a status for a person. Colours are for terminals alone.
func Text(w io.Writer, r Status, colours bool, lang *message.Language) error {
	p := &page{now: r.Time, colours: colours, lang: lang, libreswan: r.Libreswan}
	up := 0
	for _, t := range r.Tunnels {
		if t.State == "alive" || t.State == "up" {
			up++
		}
	}
	p.printf("xl2tpd-keepalive %s · %s · %s\n", Printable(r.Version),
		lang.Sprintf("%s, %d up", tunnels(len(r.Tunnels)), up), r.Time.Local().Format(time.DateTime))
	p.problems(r.Problems)
	if r.Libreswan {
		p.printf("%s %s\n", p.paint("36", "•"), p.lang.Text(libreswan))
	}
	for _, t := range r.Tunnels {
		p.tunnel(&t)
	}
	_, err := io.WriteString(w, p.String())
	return err
}

type page struct {
	strings.Builder
	now     time.Time
	colours bool
	lang    *message.Language

	libreswan bool
}

// problems writes what does not work, and where to look next.
func (p *page) problems(all []Problem) {
	for _, problem := range all {
		p.printf("%s %s\n", p.paint("31", "!"), Printable(p.lang.Text(problem.Text)))
	}
	if len(all) > 0 {
		p.printf("  → %s\n", p.lang.Text("sudo xl2tpd-keepalive doctor looks for the reason"))
	}
}

func (p *page) printf(format string, a ...any) { fmt.Fprintf(p, format, a...) }

func (p *page) paint(colour, s string) string {
	if !p.colours {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

func (p *page) row(name message.Text, text string) {
	p.printf("    %s %s\n", message.Pad(p.lang.Text(name), 7), text)
}

// name returns the tunnel's section.
func (p *page) name(t *Tunnel) string {
	if t.Name == "" {
		return p.lang.Text("(unknown section)")
	}
	return Printable(t.Name)
}

func (p *page) tunnel(t *Tunnel) {
	p.heading(t)
	p.row("next", Printable(p.lang.Text(t.Doing)))
	if l := t.Link; l != nil && !l.Up.IsZero() {
		p.row("up", p.lang.Sprintf("since %s, for %s", l.Up.Local().Format(time.DateTime), span(p.now.Sub(l.Up))))
		if at, kind := l.Evidence.Last(); !at.IsZero() {
			p.row("heard", p.lang.Sprintf("%s %s ago", kind, span(p.now.Sub(at))))
		} else {
			p.row("heard", p.lang.Text("nothing yet"))
		}
		p.echoes(l)
	}
	if g := t.Guard; g != nil {
		p.guard(g)
	}
	switch s := t.SA; {
	case s != nil:
		p.sa(s)
	case p.libreswan:
		p.row("SA", p.lang.Text("not watched"))
	default:
		p.row("SA", p.lang.Text("none"))
	}
	if c := t.Last; c != nil {
		p.row("dropped", Printable(p.lang.Sprintf("closed %s ago after %s: %s", span(p.now.Sub(c.Time)), span(time.Duration(c.After)), c.Reason)))
		p.messages(t, c)
	}
}

// heading writes a tunnel's name, state and addresses.
func (p *page) heading(t *Tunnel) {
	p.printf("\n%s", p.paint("1", p.name(t)))
	if t.Instance != "" {
		p.printf(" (%s)", Printable(t.Instance))
	}
	p.printf("  %s", p.paint(stateColours[t.State], "● "+Printable(p.lang.Text(t.StateText()))))
	if !t.Since.IsZero() {
		p.printf(" %s", p.span(p.now.Sub(t.Since)))
	}
	if t.Peer.IsValid() {
		p.printf("  %s", p.lang.Sprintf("peer %v", t.Peer))
	}
	if l := t.Link; l != nil {
		p.printf("  %s", Printable(l.Name))
		if l.Local.IsValid() {
			p.printf(" %v → %v", l.Local, l.Remote)
		}
	}
	p.WriteByte('\n')
}

func (p *page) echoes(l *Link) {
	e := &l.Echoes
	if e.Sent == 0 {
		return
	}
	line := p.lang.Text("lost")
	if n := len(e.Recent); n > 0 && e.Recent[n-1] != nil {
		line = trip(*e.Recent[n-1])
	}
	line += "  " + sparkline(e.Recent)
	if l.Target.IsValid() && l.Target != l.Remote {
		line = fmt.Sprintf("%v %s", l.Target, line)
	}
	p.row("echo", line+"  "+p.lang.Sprintf("%d sent, %d lost (%.1f %%)", e.Sent, e.Lost, 100*float64(e.Lost)/float64(e.Sent)))
}

func (p *page) guard(g *Guard) {
	what := p.lang.Text("not needed")
	if g.Holding {
		what = p.paint("32", p.lang.Text("holds the tunnel"))
	}
	line := p.lang.Sprintf("guard %s: %s, %d shown to the peer, %d answered in its name", Printable(g.Mode), what, g.Passed, g.Held)
	if g.Answered > 0 {
		line += p.lang.Sprintf(", %d of its own answered for xl2tpd", g.Answered)
	}
	p.row("Hello", line)
}

func (p *page) sa(s *SA) {
	line := Printable(s.Name) + " " + Printable(s.State)
	if !s.Since.IsZero() {
		line += " " + p.span(p.now.Sub(s.Since))
	}
	if s.NAT {
		line += p.lang.Text(", behind a NAT")
	}
	p.row("SA", line)
}

// sparkline draws round trips, the longest as a full block and a lost one as ×.
func sparkline(trips []*Seconds) string {
	const blocks = "▁▂▃▄▅▆▇█"
	var longest Seconds
	for _, t := range trips {
		if t != nil {
			longest = max(longest, *t)
		}
	}
	var b strings.Builder
	for _, t := range trips {
		switch {
		case t == nil:
			b.WriteRune('×')
		case longest <= 0:
			b.WriteRune('▁')
		default:
			level := int(min(max(*t, 0)*8/(longest+1), 7))
			b.WriteRune([]rune(blocks)[level])
		}
	}
	return b.String()
}

func trip(s Seconds) string {
	if ms := time.Duration(s).Seconds() * 1000; ms >= 1 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%d µs", time.Duration(s).Microseconds())
}

// span formats a duration briefly: 12s, 3m05s, 4h12m, 9d4h.
func span(d time.Duration) message.Text {
	d = max(d, 0).Round(time.Second)
	day := 24 * time.Hour
	switch {
	case d < time.Minute:
		return message.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return message.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return message.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return message.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}

func (p *page) span(d time.Duration) string { return p.lang.Text(span(d)) }

// tunnels formats a number of tunnels.
func tunnels(n int) message.Text {
	if n == 1 {
		return message.Sprintf("%d tunnel", n)
	}
	return message.Sprintf("%d tunnels", n)
}

// Printable replaces control characters, so that text from configurations and peers
// can't move the cursor.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
