// Package message holds texts for people, in English and in the language of their locale.
//
// A package writes its texts in English, with Sprintf, Errorf or a constant of type Text. The English text is also the
// key of its translation, as in gettext. Only the command that prints a text knows a Language. Logs, JSON and metrics
// are in English: that is what String returns.
package message

import (
	"fmt"
	"strings"
)

// A Text is English, with marks around each argument of its format. The marks let a Language find the format again.
// They are Unicode's isolates, which Project Fluent uses for the same purpose: a terminal shows nothing for them.
// A constant is a Text without arguments.
type Text string

// A Format is a format of package fmt, without explicit argument indexes.
type Format string

const (
	textMark = '\u2068' // FIRST STRONG ISOLATE: the argument is a Text, which is translated too
	dataMark = '\u2066' // LEFT-TO-RIGHT ISOLATE: any other argument
	endMark  = '\u2069' // POP DIRECTIONAL ISOLATE

	marks = string(textMark) + string(dataMark) + string(endMark)
)

var unmark = strings.NewReplacer(string(textMark), "", string(dataMark), "", string(endMark), "")

// Sprintf formats a Text. A Text or an error of Errorf among the arguments keeps its own format.
func Sprintf(format Format, args ...any) Text {
	marked := make([]any, len(args))
	for i, a := range args {
		marked[i] = argument{a}
	}
	return Text(fmt.Sprintf(string(format), marked...))
}

// argument formats a value with marks around it.
type argument struct{ value any }

func (a argument) Format(s fmt.State, verb rune) {
	switch v := a.value.(type) {
	case Text:
		fmt.Fprintf(s, "%c%s%c", textMark, string(v), endMark)
	case interface{ Text() Text }:
		fmt.Fprintf(s, "%c%s%c", textMark, string(v.Text()), endMark)
	default: // the value may come from a peer, so it must not bring marks of its own
		fmt.Fprintf(s, "%c%s%c", dataMark, unmark.Replace(fmt.Sprintf(fmt.FormatString(s, verb), v)), endMark)
	}
}

// Join makes one Text of several. two is the Format of two of them.
func Join(all []Text, two Format) Text {
	if len(all) == 0 {
		return ""
	}
	joined := all[0]
	for _, next := range all[1:] {
		joined = Sprintf(two, joined, next)
	}
	return joined
}

// Data makes a Text of a string that is not translated.
func Data(s string) Text { return Text(string(dataMark) + unmark.Replace(s) + string(endMark)) }

// String returns the English text.
func (t Text) String() string { return unmark.Replace(string(t)) }

// Marked returns the English text with its marks, for code that passes it on as a string: a Text of that string can be
// translated. A conversion would do the same, but reads as if it returned the text alone.
func (t Text) Marked() string { return string(t) }

// MarshalText writes the English text.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }
