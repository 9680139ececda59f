package doctor

import (
	"fmt"
	"io"
	"strings"

	"xl2tpd-keepalive/internal/status"
)

// Finding is the outcome of one check.
type Finding struct {
	Check  string `json:"check"`            // its name, for scripts
	Tunnel string `json:"tunnel,omitempty"` // what it is about; empty: the host
	OK     bool   `json:"ok"`
	Text   string `json:"text"`
	// Remedy is what to do, a line for each step; if OK, what makes it better still.
	Remedy []string `json:"remedy,omitempty"`
}

func good(check, tunnel, format string, a ...any) Finding {
	return Finding{Check: check, Tunnel: tunnel, OK: true, Text: fmt.Sprintf(format, a...)}
}

func bad(check, tunnel, text string, remedy ...string) Finding {
	return Finding{Check: check, Tunnel: tunnel, Text: text, Remedy: remedy}
}

// Healthy tells whether nothing was found.
func Healthy(all []Finding) bool {
	for _, f := range all {
		if !f.OK {
			return false
		}
	}
	return true
}

// Text writes findings for a person: a line for each, its remedy below.
func Text(w io.Writer, all []Finding, colours bool) error {
	var b strings.Builder
	for _, f := range all {
		mark, colour := "✓", "32"
		if !f.OK {
			mark, colour = "✗", "31"
		}
		if colours {
			mark = "\x1b[" + colour + "m" + mark + "\x1b[0m"
		}
		about := f.Check
		if f.Tunnel != "" {
			about = f.Tunnel + ", " + about
		}
		fmt.Fprintf(&b, "%s %s: %s\n", mark, status.Printable(about), status.Printable(f.Text))
		for _, r := range f.Remedy {
			fmt.Fprintf(&b, "    → %s\n", status.Printable(r))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
