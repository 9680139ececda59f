package timeline

import (
	"fmt"
	"html"
	"io"
	"time"
)

// Sizes in SVG units, colours that hold on light and dark pages.
const (
	labelWidth, plotWidth, rowHeight = 110, 760, 22
	colourUp, colourGap, colourText  = "#2e9e5b", "#d9534f", "#57606a"
)

// SVG writes the timeline as a picture.
func (t *Timeline) SVG(w io.Writer) {
	height := 46
	for _, r := range t.runs {
		height += 30 + rowHeight*len(r.Rows)
	}
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" fill="%s">`+"\n",
		labelWidth+plotWidth+20, height, colourText)
	y := 10
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

func (t *Timeline) x(at time.Duration) float64 {
	return labelWidth + plotWidth*min(1, float64(at)/float64(t.Span))
}

func (t *Timeline) row(w io.Writer, row *Row, y int) {
	fmt.Fprintf(w, `<text x="16" y="%d">%s</text>`+"\n", y+14, html.EscapeString(row.Tunnel))
	if len(row.Lives) == 0 {
		return
	}
	bar := func(from, to time.Duration, colour string) {
		fmt.Fprintf(w, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n",
			t.x(from), y+3, t.x(to)-t.x(from), rowHeight-6, colour)
	}
	bar(row.Lives[0].From, t.Span, colourGap)
	for _, l := range row.Lives {
		if l.From < t.Span {
			bar(l.From, min(l.Upto(t.Span), t.Span), colourUp)
		}
	}
	for _, l := range row.Drops(t.Span) {
		fmt.Fprintf(w, `<text x="%.1f" y="%d" text-anchor="end" fill="#fff" font-size="10">%.0f s: %s</text>`+"\n",
			t.x(l.To)-3, y+14, (l.To - l.From).Seconds(), html.EscapeString(Words(l.Reason)))
	}
}

func (t *Timeline) axis(w io.Writer, y int) {
	for at := time.Duration(0); at <= t.Span; at += 30 * time.Second {
		fmt.Fprintf(w, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", t.x(at), y+14, clockText(at))
	}
}
