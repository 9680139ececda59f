package screen

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"xl2tpd-keepalive/internal/message"
)

// clip cuts a page to the size of a terminal, less the row of the cursor.
func clip(text string, columns, rows int, lang *message.Language) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if most := rows - 1; rows > 2 && len(lines) > most {
		more := len(lines) - most + 1
		lines = append(lines[:most-1:most-1], lang.Sprintf("… more lines: %d; name tunnels, or use --short", more))
	}
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(cut(line, columns) + "\n")
	}
	return b.String()
}

var colour = regexp.MustCompile("^\x1b\\[[0-9;]*m")

// cut shortens a line to the columns. It keeps the colour sequences behind the cut, so that colours end.
func cut(line string, columns int) string {
	if columns < 1 || width(line) <= columns {
		return line
	}
	var b strings.Builder
	for used := 0; line != ""; {
		if c := colour.FindString(line); c != "" {
			b.WriteString(c)
			line = line[len(c):]
			continue
		}
		r, n := utf8.DecodeRuneInString(line)
		if used += message.Cells(r); used < columns {
			b.WriteRune(r)
		} else if used-message.Cells(r) < columns {
			b.WriteRune('…')
			used = columns + 1
		}
		line = line[n:]
	}
	return b.String()
}

// width returns how many columns a line takes.
func width(line string) (n int) {
	for line != "" {
		if c := colour.FindString(line); c != "" {
			line = line[len(c):]
			continue
		}
		r, size := utf8.DecodeRuneInString(line)
		n += message.Cells(r)
		line = line[size:]
	}
	return n
}
