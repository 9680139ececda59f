package status

import "xl2tpd-keepalive/internal/message"

// A Code says what does not work. doctor goes by it, not by the words of a Problem.
type Code string

const (
	CodeVICI        Code = "vici"           // strongSwan does not answer
	CodeGuard       Code = "guard"          // there is no Hello guard
	CodeGuardInput  Code = "guard-input"    // a firewall rule in INPUT keeps the guard's answers from xl2tpd
	CodeGuardOutput Code = "guard-output"   // the same in OUTPUT
	CodeConfig      Code = "keepalive.conf" // the file is wrong or can't be read
	CodeSection     Code = "section"        // one of its sections is for no LAC or LNS
	CodeXl2tpd      Code = "xl2tpd"         // it does not run
	CodeContainer   Code = "container"      // a link is left alone, because its xl2tpd runs in a container
	CodeXl2tpdConf  Code = "xl2tpd.conf"    // the file is wrong or can't be read
)

// Guard reports whether the Hello guard does not work.
func (c Code) Guard() bool { return c == CodeGuard || c == CodeGuardInput || c == CodeGuardOutput }

// Problem is something that does not work. In JSON it is its Text.
type Problem struct {
	Code   Code // empty: no program has to distinguish it from others
	Text   message.Text
	Reason message.Text // a part of Text, without the name of what does not work; empty: it has no such part
}

func problemTexts(all []Problem) (texts []message.Text) {
	for _, p := range all {
		texts = append(texts, p.Text)
	}
	return texts
}

// MarshalText writes the English text.
func (p Problem) MarshalText() ([]byte, error) { return p.Text.MarshalText() }

// UnmarshalText reads the text alone.
func (p *Problem) UnmarshalText(text []byte) error {
	*p = Problem{Text: message.Text(text)}
	return nil
}
