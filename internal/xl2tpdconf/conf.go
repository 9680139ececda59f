// Package xl2tpdconf reads files in the format of xl2tpd.conf.
//
// It reads them the way xl2tpd itself does (file.c):
//
//   - ";" starts a comment wherever it stands; nothing quotes it. "#" does not.
//   - "[global]", "[lac NAME]" and "[lns NAME]" open a section. One space ends
//     the kind, the rest up to the first "]" is the name, spaces included.
//   - "name = value": the name may hold spaces, the value may be empty and may
//     hold "=". Kinds, names and keys are compared without regard to ASCII case.
//   - Any byte below 33 is white space. So is any byte above 127 at either end
//     of a line, name or value, because xl2tpd compares signed chars; that
//     skips a byte order mark.
//   - A line is read in pieces of 1023 bytes, each a line of its own, unless
//     a comment began in an earlier piece.
//
// Sections and keys keep the file's order, repeated ones too. The caller decides
// which keys exist and what their values mean.
package xl2tpdconf

import (
	"bytes"
	"io"
	"strconv"
	"strings"

	"xl2tpd-keepalive/internal/message"
)

const (
	maxLine = 1023    // xl2tpd's buffer of 1024, less the closing NUL
	maxFile = 1 << 20 // far beyond any real file; a guard for memory
)

// File is one parsed file.
type File struct{ Sections []Section }

// Section is one section header and the keys below it.
type Section struct {
	Kind string // "global", "lac" or "lns"
	Name string // as written; "" for global and for a header without a name; "default" for [lac default]
	Rest string // the part of the header that xl2tpd ignores: the name in [global NAME], text after "]"
	Line int    // 1-based
	Keys []Key
}

// Header identifies a section.
type Header struct{ Kind, Name string }

func (h Header) String() string { return "[" + h.Kind + " " + h.Name + "]" }

// Key is one "name = value".
type Key struct {
	Name  string // lower case, inner white space as written: xl2tpd does not know a key with two spaces in a row
	Value string // as written, without the white space around it
	Line  int    // 1-based
}

// Error is a mistake in a file, with its line. Its text is a single line.
type Error struct {
	Path string
	Line int // 1-based
	Msg  message.Text
}

// Text returns the whole text.
func (e *Error) Text() message.Text { return message.Sprintf("%s:%d: %s", e.Path, e.Line, e.Msg) }

func (e *Error) Error() string { return e.Text().String() }

// SameName reports whether xl2tpd takes two section names for the same.
func SameName(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) { // without allocation: a long file compares each section with all others
		if lowerByte(a[i]) != lowerByte(b[i]) {
			return false
		}
	}
	return true
}

// Parse reads a file; path is only for messages. The error is an *Error.
func Parse(path string, r io.Reader) (*File, error) {
	f := &File{}
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	line := 1
	fail := func(format message.Format, args ...any) (*File, error) {
		return nil, &Error{Path: path, Line: line, Msg: message.Sprintf(format, args...)}
	}
	if err != nil {
		line += bytes.Count(data, []byte("\n"))
		return fail("reading failed: %v", err)
	}
	if len(data) > maxFile {
		return fail("the file is larger than 1 MiB")
	}
	inComment := false
	for len(data) > 0 {
		var piece []byte
		var ended bool
		piece, data, ended = cutPiece(data)
		if inComment { // the comment of a line longer than one piece
			inComment = !ended
		} else {
			text, comment := piece, false
			if i := bytes.IndexByte(piece, ';'); i >= 0 {
				text, comment = piece[:i], true
			}
			inComment = comment && !ended
			cut := !ended && !comment && len(data) > 0
			if msg := f.add(string(text), line, cut); msg != "" {
				return nil, &Error{Path: path, Line: line, Msg: msg}
			}
		}
		if ended {
			line++
		}
	}
	return f, nil
}

// cutPiece returns what fgets would read next, without the newline.
func cutPiece(data []byte) (piece, rest []byte, ended bool) {
	n := min(len(data), maxLine)
	if i := bytes.IndexByte(data[:n], '\n'); i >= 0 {
		return data[:i], data[i+1:], true
	}
	return data[:n], data[n:], false
}

// add adds one line without its comment. cut: the line is longer than xl2tpd's
// buffer. It returns what is wrong, or "".
func (f *File) add(text string, line int, cut bool) message.Text {
	if strings.IndexByte(text, 0) >= 0 {
		return "NUL byte: this is not a text file"
	}
	text = trim(text)
	switch {
	case text == "":
		return ""
	case text[0] == '[':
		return f.addSection(text[1:], line)
	case text[0] == '#':
		return "comments start with ';', not with '#'"
	case len(f.Sections) == 0:
		return message.Sprintf("%s appears before the first section; start with [global], [lac NAME] or [lns NAME]", Quote(text))
	}
	name, value, ok := strings.Cut(text, "=")
	if name = trim(name); !ok && cut {
		return message.Sprintf("line longer than %d bytes, xl2tpd's limit", maxLine)
	} else if !ok {
		return message.Sprintf("%s: expected 'name = value'", Quote(text))
	} else if name == "" {
		return "the name before '=' is missing; expected 'name = value'"
	}
	s := &f.Sections[len(f.Sections)-1]
	s.Keys = append(s.Keys, Key{Name: Lower(name), Value: trim(value), Line: line})
	return ""
}

func (f *File) addSection(text string, line int) message.Text {
	header, rest, ok := strings.Cut(text, "]")
	if !ok {
		return message.Sprintf("%s: closing ']' is missing", Quote("["+text))
	}
	kind, name, _ := strings.Cut(header, " ")
	s := Section{Kind: Lower(kind), Name: name, Rest: trim(rest), Line: line}
	switch s.Kind {
	case "global":
		if s.Name = ""; name != "" {
			s.Rest = trim(name + " " + s.Rest)
		}
	case "lac", "lns":
		if SameName(name, "default") {
			s.Name = "default"
		}
	default:
		return message.Sprintf("unknown section %s; expected [global], [lac NAME] or [lns NAME]", Quote("["+header+"]"))
	}
	f.Sections = append(f.Sections, s)
	return ""
}

// Quote quotes text from a file for a message of one line. Text that has double quotes gets single ones, as backslashes
// would not be in the file.
func Quote(s string) string {
	if len(s) > 60 {
		s = s[:57] + "..."
	}
	quoted := strconv.Quote(s)
	if plain := strings.ReplaceAll(s, `"`, ""); plain != s && strconv.Quote(plain) == `"`+plain+`"` && !strings.Contains(s, "'") {
		return "'" + s + "'"
	}
	return quoted
}

func white(c byte) bool { return c < 33 || c > 127 }

func trim(s string) string {
	for s != "" && white(s[0]) {
		s = s[1:]
	}
	for s != "" && white(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// Fold replaces each run of inner white space with one space.
func Fold(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < 33 }), " ")
}

// Lower converts a string as C's tolower does in the "C" locale: ASCII only, other bytes stay.
// Section names are the same if their Lower is the same.
func Lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = lowerByte(c)
	}
	return string(b)
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// Bool reads xl2tpd's words for yes and no.
func Bool(value string) (v, ok bool) {
	switch Lower(value) {
	case "yes", "y", "true":
		return true, true
	case "no", "n", "false":
		return false, true
	}
	return false, false
}
