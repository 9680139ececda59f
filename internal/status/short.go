package status

import (
	"io"
	"slices"
	"strings"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/typo"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// Named returns the tunnels with these names; without names, all. A name is "lac office", "office", one of these with
// its xl2tpd, or that of the link. A name that no tunnel has is an error. All words together may be one name, so
// that users need no quotes.
func Named(all []Tunnel, names []string) ([]Tunnel, error) {
	if len(names) == 0 {
		return all, nil
	}
	if whole := strings.Join(names, " "); known(all, whole) {
		names = []string{whole}
	}
	for _, name := range names {
		if !known(all, name) {
			return nil, unknownName(all, name)
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(t Tunnel) bool {
		return !slices.ContainsFunc(names, t.Called)
	}), nil
}

func known(all []Tunnel, name string) bool {
	return slices.ContainsFunc(all, func(t Tunnel) bool { return t.Called(name) })
}

// unknownName returns the error for an unknown name, with the name that was probably meant.
func unknownName(all []Tunnel, name string) error {
	var names []string
	for _, t := range all {
		names = append(names, t.names()...)
	}
	if meant := typo.Nearest(name, names); meant != "" {
		return message.Errorf("there is no tunnel %q, did you mean %q?", name, meant)
	}
	return message.Errorf("there is no tunnel %q (xl2tpd-keepalive status shows all)", name)
}

// Called reports whether that is one of the tunnel's names.
func (t *Tunnel) Called(name string) bool {
	return name != "" && slices.ContainsFunc(t.names(), func(own string) bool { return xl2tpdconf.SameName(own, name) })
}

// names returns a tunnel's possible names: its pppN; and its section, with or without lac or lns, and with or without
// its xl2tpd, in the order of status or of keepalive.conf.
func (t *Tunnel) names() (all []string) {
	if t.Link != nil {
		all = append(all, t.Link.Name)
	}
	if t.Name == "" {
		return all
	}
	all = append(all, t.Name)
	kind, section, ok := strings.Cut(t.Name, " ")
	if !ok { // [lac] or [lns] without a name
		return all
	}
	all = append(all, section)
	if t.Instance != "" {
		all = append(all, t.Title(), t.Instance+" "+section, kind+" "+t.Instance+" "+section)
	}
	return all
}

// Short writes a status with one line for each tunnel: name, state, since when, peer, link and echo
// requests. Problems come first.
func Short(w io.Writer, r Status, colours bool, lang *message.Language) error {
	p := &page{now: r.Time, colours: colours, lang: lang}
	p.problems(r.Problems)
	rows := make([][]string, len(r.Tunnels))
	var widths [6]int
	for i := range r.Tunnels {
		rows[i] = p.columns(&r.Tunnels[i])
		for j, cell := range rows[i] {
			widths[j] = max(widths[j], message.Width(cell))
		}
	}
	for i, row := range rows {
		var line strings.Builder
		for j, cell := range row {
			padded := message.Pad(cell, widths[j]+2)
			if j == 1 {
				padded = p.paint(stateColours[r.Tunnels[i].State], cell) + padded[len(cell):]
			}
			line.WriteString(padded)
		}
		p.printf("%s\n", strings.TrimRight(line.String(), " "))
	}
	_, err := io.WriteString(w, p.String())
	return err
}

// columns returns the cells of a tunnel's line; "-" means not known.
func (p *page) columns(t *Tunnel) []string {
	cells := []string{Printable(t.qualified(p.name(t))), Printable(p.lang.Text(t.StateText())), "-", "-", "-", "-"}
	if !t.Since.IsZero() {
		cells[2] = p.span(p.now.Sub(t.Since))
	}
	if t.Peer.IsValid() {
		cells[3] = t.Peer.String()
	}
	if l := t.Link; l != nil {
		cells[4] = Printable(l.Name)
		cells[5] = p.lang.Text(l.Echoes.short())
	}
	return cells
}

// short returns the latest round trip and the number of lost echo requests.
func (e *Echoes) short() message.Text {
	if e.Sent == 0 {
		return message.Data("-")
	}
	latest := message.Text("lost")
	if n := len(e.Recent); n > 0 && e.Recent[n-1] != nil {
		latest = message.Data(trip(*e.Recent[n-1]))
	}
	return message.Sprintf("%s, %.1f %% lost", latest, 100*float64(e.Lost)/float64(e.Sent))
}
