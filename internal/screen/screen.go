// Package screen shows pages of text again and again, on a terminal or as a stream.
package screen

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Coloured reports whether to use colours, see https://no-color.org.
func Coloured(w io.Writer) bool { return IsTerminal(w) && os.Getenv("NO_COLOR") == "" }

// IsTerminal reports whether w is a terminal that understands control sequences.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && !strings.EqualFold(os.Getenv("TERM"), "dumb")
}
