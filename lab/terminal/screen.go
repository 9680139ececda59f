package terminal

import (
	"strings"
	"unicode/utf8"
)

// cell is a character of the screen and the SGR sequences in force where it was
// written.
type cell struct {
	char rune
	look string
}

// screen is what a terminal shows, as large as need be.
type screen struct {
	lines    [][]cell
	row, col int
	look     string
}

// shown is what is on the screen after all of text, as lines in which only SGR
// sequences occur. Of the others (ECMA-48) it knows CUP to the corner, EL and ED
// to the end; the rest leave no trace.
func shown(text string) string {
	s := &screen{}
	for text != "" {
		if rest, ok := strings.CutPrefix(text, "\x1b["); ok {
			end := strings.IndexFunc(rest, func(r rune) bool { return r >= '@' && r <= '~' })
			if end < 0 {
				break
			}
			s.control(rest[:end], rest[end])
			text = rest[end+1:]
			continue
		}
		r, size := utf8.DecodeRuneInString(text)
		s.write(r)
		text = text[size:]
	}
	return s.text()
}

func (s *screen) control(parameters string, final byte) {
	switch {
	case final == 'm' && (parameters == "" || parameters == "0"):
		s.look = ""
	case final == 'm':
		s.look += "\x1b[" + parameters + "m"
	case parameters != "" && parameters != "0":
	case final == 'H':
		s.row, s.col = 0, 0
	case final == 'K', final == 'J':
		if s.row < len(s.lines) {
			s.lines[s.row] = s.lines[s.row][:min(s.col, len(s.lines[s.row]))]
		}
		if final == 'J' {
			s.lines = s.lines[:min(s.row+1, len(s.lines))]
		}
	}
}

func (s *screen) write(r rune) {
	switch {
	case r == '\r':
		s.col = 0
		return
	case r == '\n':
		s.row, s.col = s.row+1, 0
		return
	case r < ' ':
		return
	}
	for len(s.lines) <= s.row {
		s.lines = append(s.lines, nil)
	}
	line := s.lines[s.row]
	for len(line) <= s.col {
		line = append(line, cell{char: ' '})
	}
	line[s.col] = cell{r, s.look}
	s.lines[s.row] = line
	s.col++
}

func (s *screen) text() string {
	var b strings.Builder
	for _, line := range s.lines {
		look := ""
		for _, c := range line {
			if c.look != look {
				b.WriteString("\x1b[0m" + c.look)
				look = c.look
			}
			b.WriteRune(c.char)
		}
		if look != "" {
			b.WriteString("\x1b[0m")
		}
		b.WriteByte('\n')
	}
	return b.String()
}
