package message

import (
	"fmt"
	"strconv"
	"strings"
)

// An Entry is a translated text of a catalogue.
type Entry struct {
	ID   string // the English format
	Text string // its translation, which may have explicit argument indexes
	Line int    // of ID
}

// parsePO reads a catalogue in the form of gettext: pairs of msgid and msgstr, in quotes, on one or more lines. The
// pair with an empty msgid is the header. The catalogue is part of the program, so a mistake in it is a panic.
func parsePO(text string) (entries []Entry) {
	var e Entry
	var into *string
	flush := func() {
		if e.ID != "" {
			entries = append(entries, e)
		}
		e = Entry{}
	}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		keyword, quoted, _ := strings.Cut(line, " ")
		switch {
		case line == "" || line[0] == '#':
			continue
		case keyword == "msgid":
			flush()
			e.Line, into = n, &e.ID
		case keyword == "msgstr":
			into = &e.Text
		default:
			quoted = line
		}
		part, err := strconv.Unquote(quoted)
		if err != nil || into == nil {
			panic(fmt.Sprintf("catalogue, line %d: %s", n, line))
		}
		*into += part
	}
	flush()
	return entries
}
