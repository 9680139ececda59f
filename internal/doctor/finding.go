package doctor

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
)

// Finding is the outcome of one check.
type Finding struct {
	Check  message.Text `json:"check"`            // its name in English, for scripts
	Tunnel string       `json:"tunnel,omitempty"` // the tunnel or xl2tpd that was checked; empty: the host
	OK     bool         `json:"ok"`               // Kind is no problem
	Kind   Kind         `json:"kind"`
	Text   message.Text `json:"text"`
	// Remedy is what to do, a line for each step; if OK, a possible improvement.
	Remedy []message.Text `json:"remedy,omitempty"`
	// Paste are lines for a router's console, as they are to be entered.
	Paste []string `json:"paste,omitempty"`
}

// Kind is how good an outcome is.
type Kind string

// The kinds of findings. A host without a problem is healthy.
const (
	Passed  Kind = "passed"
	Problem Kind = "problem"
	Unknown Kind = "unknown" // the check was not possible; Text says why
	Note    Kind = "note"    // nothing is wrong, but there is something to know or to improve
)

// kinds are in the order of a summary.
var kinds = []struct {
	Kind
	mark, colour string // SGR parameters (ECMA-48)
	one, many    message.Format
}{
	{Problem, "✗", "31", "%d problem", "%d problems"},
	{Unknown, "?", "33", "%d not known", "%d not known"},
	{Note, "•", "36", "%d note", "%d notes"},
	{Passed, "✓", "32", "%d check passed", "%d checks passed"},
}

func good(check message.Text, tunnel string, format message.Format, a ...any) Finding {
	return Finding{Check: check, Tunnel: tunnel, OK: true, Kind: Passed, Text: message.Sprintf(format, a...)}
}

func bad(check message.Text, tunnel string, text message.Text, remedy ...message.Text) Finding {
	return Finding{Check: check, Tunnel: tunnel, Kind: Problem, Text: text, Remedy: remedy}
}

func unknown(check message.Text, tunnel string, text message.Text, remedy ...message.Text) Finding {
	return Finding{Check: check, Tunnel: tunnel, OK: true, Kind: Unknown, Text: text, Remedy: remedy}
}

func note(check message.Text, tunnel string, text message.Text, remedy ...message.Text) Finding {
	return Finding{Check: check, Tunnel: tunnel, OK: true, Kind: Note, Text: text, Remedy: remedy}
}

// command is a remedy that is the same in each language.
func command(line string) message.Text { return message.Data(line) }

// Problems returns the findings that are problems.
func Problems(all []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(all), func(f Finding) bool { return f.OK })
}

// Healthy reports whether there is no problem among the findings.
func Healthy(all []Finding) bool { return len(Problems(all)) == 0 }

// Text writes findings for a person: a line for each, its remedy below.
func Text(w io.Writer, all []Finding, colours bool, lang *message.Language) error {
	var b strings.Builder
	for _, f := range all {
		about := f.Check
		if f.Tunnel != "" {
			about = message.Sprintf("%s, %s", f.Tunnel, about)
		}
		fmt.Fprintf(&b, "%s %s: %s\n", f.Kind.mark(colours), status.Printable(lang.Text(about)), status.Printable(lang.Text(f.Text)))
		for _, r := range f.Remedy {
			fmt.Fprintf(&b, "    → %s\n", status.Printable(lang.Text(r)))
		}
		for _, line := range f.Paste {
			fmt.Fprintf(&b, "      %s\n", status.Printable(line))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (k Kind) mark(colours bool) string {
	for _, is := range kinds {
		switch {
		case is.Kind == k && colours:
			return "\x1b[" + is.colour + "m" + is.mark + "\x1b[0m"
		case is.Kind == k:
			return is.mark
		}
	}
	return ""
}

// Summary counts the findings in one line.
func Summary(all []Finding, lang *message.Language) string {
	var parts []message.Text
	for _, k := range kinds {
		n := 0
		for _, f := range all {
			if f.Kind == k.Kind {
				n++
			}
		}
		switch {
		case n == 1:
			parts = append(parts, message.Sprintf(k.one, n))
		case n > 1 || k.Kind == Problem:
			parts = append(parts, message.Sprintf(k.many, n))
		}
	}
	return lang.Text(message.Join(parts, "%s, %s"))
}

// asRoot is the remedy for a lack of permission.
var asRoot = command("sudo xl2tpd-keepalive doctor")

// count formats a number of things.
func count(n int, one, many message.Format) message.Text {
	if n == 1 {
		return message.Sprintf(one, n)
	}
	return message.Sprintf(many, n)
}
