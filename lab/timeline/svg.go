package timeline

import (
	"fmt"
	"html"
	"io"
	"strings"
	"time"
)

// Sizes in SVG units. The colours have a ground of their own, for light and dark pages; blue and orange differ for those
// who can't tell red from green, and a gap is a thin line besides.
const (
	labelWidth, plotWidth, rowHeight, gapHeight = 110, 760, 22, 4
	ground, colourUp, colourGap, colourText     = "#0d1117", "#58a6ff", "#d55e00", "#e6edf3"
)

// SVG writes the timeline as a picture.
func (t *Timeline) SVG(w io.Writer) {
	height := 68
	for _, r := range t.runs {
		height += 30 + rowHeight*len(r.Rows)
	}
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-labelledby="title desc" font-family="sans-serif" font-size="12" fill="%s">`+"\n",
		labelWidth+plotWidth+20, height, colourText)
	fmt.Fprintln(w, `<title id="title">When each tunnel was up</title>`)
	fmt.Fprintf(w, `<desc id="desc">%s</desc>`+"\n", html.EscapeString(t.description()))
	fmt.Fprintf(w, `<rect width="100%%" height="100%%" rx="6" fill="%s"/>`+"\n", ground)
	fmt.Fprintf(w, `<text x="8" y="20"><tspan fill="%s">■</tspan> up, with why it closed  <tspan fill="%s">━</tspan> closed</text>`+"\n", colourUp, colourGap)
	y := 32
	for _, r := range t.runs {
		y += 18
		fmt.Fprintf(w, `<text x="8" y="%d" font-weight="bold">%s</text>`+"\n", y, html.EscapeString(r.Name))
		y += 6
		for _, row := range r.Rows {
			t.row(w, row, y)
			y += rowHeight
		}
		y += 6
	}
	t.axis(w, y)
	fmt.Fprintln(w, `</svg>`)
}

// description says the same in words.
func (t *Timeline) description() string {
	var runs []string
	for _, r := range t.runs {
		drops := 0
		for _, row := range r.Rows {
			drops += len(row.Drops(t.Span))
		}
		runs = append(runs, fmt.Sprintf("%s: tunnels %d, closed %d times.", r.Name, len(r.Rows), drops))
	}
	return strings.Join(runs, " ")
}

func (t *Timeline) x(at time.Duration) float64 {
	return labelWidth + plotWidth*min(1, float64(at)/float64(t.Span))
}

func (t *Timeline) row(w io.Writer, row *Row, y int) {
	fmt.Fprintf(w, `<text x="16" y="%d">%s</text>`+"\n", y+14, html.EscapeString(row.Tunnel))
	if len(row.Lives) == 0 {
		return
	}
	bar := func(from, to time.Duration, height int, colour string) {
		fmt.Fprintf(w, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n",
			t.x(from), y+(rowHeight-height)/2, t.x(to)-t.x(from), height, colour)
	}
	bar(row.Lives[0].From, t.Span, gapHeight, colourGap)
	for _, l := range row.Lives {
		if l.From < t.Span {
			bar(l.From, min(l.Upto(t.Span), t.Span), rowHeight-6, colourUp)
		}
	}
	for _, l := range row.Drops(t.Span) {
		fmt.Fprintf(w, `<text x="%.1f" y="%d" text-anchor="end" fill="%s" font-size="10">%.0f s: %s</text>`+"\n",
			t.x(l.To)-3, y+14, ground, (l.To - l.From).Seconds(), html.EscapeString(Words(l.Reason)))
	}
}

func (t *Timeline) axis(w io.Writer, y int) {
	for at := time.Duration(0); at <= t.Span; at += 30 * time.Second {
		fmt.Fprintf(w, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", t.x(at), y+14, clockText(at))
	}
}
