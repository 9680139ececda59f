// Package terminal draws a program's terminal output.
package terminal

import (
	"fmt"
	"html"
	"io"
	"strings"
	"unicode/utf8"
)

// Sizes in SVG units: a character, a line, the margin.
const charWidth, lineHeight, margin = 7.8, 18, 14

// Colours by SGR parameter (ECMA-48), on a dark ground.
var colours = map[string]string{
	"31": "#ff7b72", "32": "#56d364", "33": "#e3b341", "36": "#76e3ea", "90": "#8b949e",
}

const ground, plain = "#0d1117", "#e6edf3"

// SVG writes a picture of the screen after all of text. A line that begins with
// "$ " is what was typed.
func SVG(w io.Writer, text string) error {
	lines := strings.Split(strings.TrimRight(shown(text), "\n"), "\n")
	var b strings.Builder
	widest := 0
	for i, line := range lines {
		column := 0
		y := margin + lineHeight*(i+1) - 4
		for _, run := range runs(line) {
			if s := strings.TrimRight(run.text, " "); s != "" {
				fmt.Fprintf(&b, `<text x="%.1f" y="%d" fill="%s"%s xml:space="preserve">%s</text>`+"\n",
					margin+charWidth*float64(column), y, run.colour, run.style, html.EscapeString(s))
			}
			column += utf8.RuneCountInString(run.text)
		}
		widest = max(widest, column)
	}
	title, _, _ := strings.Cut(plainText(lines), "\n")
	width, height := 2*margin+charWidth*float64(widest), 2*margin+lineHeight*len(lines)
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %d" role="img" aria-labelledby="title desc" font-family="ui-monospace, 'DejaVu Sans Mono', monospace" font-size="13">`+
		"\n<title id=\"title\">%s</title>\n<desc id=\"desc\">%s</desc>\n"+`<rect width="100%%" height="100%%" rx="6" fill="%s"/>`+"\n%s</svg>\n",
		width, height, html.EscapeString(strings.TrimPrefix(title, "$ ")), html.EscapeString(plainText(lines)), ground, b.String())
	return err
}

// plainText is what the lines say, without their colours.
func plainText(lines []string) string {
	var b strings.Builder
	for _, line := range lines {
		for _, r := range runs(line) {
			b.WriteString(r.text)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// run is a part of a line that looks the same all along.
type run struct{ text, colour, style string }

func runs(line string) []run {
	now := run{colour: plain}
	if strings.HasPrefix(line, "$ ") {
		now.style = ` font-weight="bold"`
	}
	var all []run
	for {
		text, rest, more := strings.Cut(line, "\x1b[")
		now.text = text
		if text != "" {
			all = append(all, now)
		}
		if !more {
			return all
		}
		parameters, after, ok := strings.Cut(rest, "m")
		if !ok {
			return all
		}
		line = after
		for _, p := range strings.Split(parameters, ";") {
			switch colour, known := colours[p]; {
			case known:
				now.colour = colour
			case p == "1":
				now.style = ` font-weight="bold"`
			default:
				now.colour, now.style = plain, ""
			}
		}
	}
}
