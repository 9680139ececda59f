package options

import "bytes"

// maxWord is how much of a word pppd keeps: MAXWORDLEN (pppd.h) less the NUL.
const maxWord = 1023

const eof = -1

// reader splits a file into words, as pppd does (options.c, getword).
type reader struct {
	data []byte
	next int // index of the next byte
}

func (r *reader) peek() int {
	if r.next >= len(r.data) {
		return eof
	}
	return int(r.data[r.next])
}

// word returns the next word and the line in which it begins; ok is false at the end of the file.
func (r *reader) word() (word string, line int, ok bool) {
	r.skip()
	line = 1 + bytes.Count(r.data[:min(r.next, len(r.data))], []byte("\n"))
	var text []byte
	quote := 0
	for {
		switch c := r.peek(); {
		case c == eof:
			return keep(text), line, len(text) > 0
		case c == '\\':
			text = r.escape(text)
			continue
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && (space(c) || c == '#'):
			return keep(text), line, true
		default:
			text = append(text, byte(c))
		}
		r.next++
	}
}

// skip advances to the first byte of a word. It skips white space, comments and newlines behind a
// backslash.
func (r *reader) skip() {
	for {
		switch c := r.peek(); {
		case c == '#':
			for c := r.peek(); c != '\n' && c != eof; c = r.peek() {
				r.next++
			}
		case c == '\\' && r.next+1 < len(r.data) && r.data[r.next+1] == '\n':
			r.next += 2
		case space(c):
			r.next++
		default:
			return
		}
	}
}

// escaped maps the letters that stand for another character behind a backslash.
var escaped = map[int]byte{'a': '\a', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 's': ' ', 't': '\t'}

// escape appends the character that a backslash and the bytes behind it stand for.
func (r *reader) escape(text []byte) []byte {
	r.next++
	c := r.peek()
	letter, known := escaped[c]
	switch {
	case c == eof:
		return text
	case c == '\n':
		r.next++
		return text
	case octal(c):
		return append(text, r.number(3, 8))
	case c == 'x':
		r.next++
		return append(text, r.number(2, 16))
	case known:
		c = int(letter)
	}
	r.next++
	return append(text, byte(c))
}

// number reads a number of at most that many digits.
func (r *reader) number(digits, base int) byte {
	value := 0
	for range digits {
		d, ok := digit(r.peek())
		if !ok || d >= base {
			break
		}
		value = value*base + d
		r.next++
	}
	return byte(value)
}

func digit(c int) (value int, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func octal(c int) bool { return '0' <= c && c <= '7' }

// space is C's isspace.
func space(c int) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// keep cuts a word at the first NUL, where pppd's C string ends.
func keep(text []byte) string {
	text = text[:min(len(text), maxWord)]
	if i := bytes.IndexByte(text, 0); i >= 0 {
		text = text[:i]
	}
	return string(text)
}
