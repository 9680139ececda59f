package message

import (
	_ "embed"
	"regexp"
	"strconv"
	"strings"
)

//go:embed ja.po
var japanese string

// A Language translates texts. nil is English.
type Language struct {
	texts map[string]string // by normal
}

// Of returns the language of the locale in the environment, in the order of POSIX: LC_ALL, LC_MESSAGES, LANG. The
// program writes UTF-8, so a locale with another encoding gets English.
func Of(getenv func(string) string) *Language {
	locale := ""
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if locale = getenv(name); locale != "" {
			break
		}
	}
	locale, _, _ = strings.Cut(locale, "@")
	name, encoding, _ := strings.Cut(locale, ".")
	name, _, _ = strings.Cut(name, "_")
	if name != "ja" || !strings.EqualFold(strings.ReplaceAll(encoding, "-", ""), "utf8") {
		return nil
	}
	return Japanese()
}

// Japanese returns the Language of Japanese.
func Japanese() *Language {
	l := &Language{texts: map[string]string{}}
	for _, e := range parsePO(japanese) {
		l.texts[normal(e.ID)] = e.Text
	}
	return l
}

// Text translates a Text. Without a translation it is English.
func (l *Language) Text(t Text) string {
	if l == nil {
		return t.String()
	}
	key, args := l.parse(string(t))
	translated, known := l.texts[key]
	if !known {
		translated = key
	}
	return fill(translated, args)
}

// Sprintf formats a Text and translates it.
func (l *Language) Sprintf(format Format, args ...any) string {
	return l.Text(Sprintf(format, args...))
}

// Error translates the Text of an error.
func (l *Language) Error(err error) string { return l.Text(TextOf(err)) }

// parse splits a marked text into the key of its translation and its arguments, in the language as far as they are
// texts.
func (l *Language) parse(s string) (key string, args []string) {
	var b strings.Builder
	for s != "" {
		at := strings.IndexAny(s, marks)
		if at < 0 {
			at = len(s)
		}
		b.WriteString(strings.ReplaceAll(s[:at], "%", "%%"))
		if s = s[at:]; s == "" {
			break
		}
		inner, rest, translate := cutArgument(s)
		if translate {
			inner = l.Text(Text(inner))
		}
		b.WriteString("%s")
		args = append(args, unmark.Replace(inner))
		s = rest
	}
	return b.String(), args
}

// cutArgument splits a string that begins with a mark into the argument and what is behind its end.
func cutArgument(s string) (inner, rest string, translate bool) {
	depth, start := 0, len(string(textMark))
	for i, r := range s {
		switch r {
		case textMark, dataMark:
			depth++
		case endMark:
			depth--
		}
		if depth <= 0 && i > 0 {
			return s[start:i], s[i+len(string(endMark)):], strings.HasPrefix(s, string(textMark))
		}
	}
	return "", "", false
}

// verb matches a verb of package fmt, with an explicit argument index or without.
var verb = regexp.MustCompile(`%[-+# 0]*\d*(?:\.\d+)?(?:\[(\d+)\])?([a-zA-Z%])`)

// normal returns a format with %s in the place of each verb: a Text shows where its arguments are, and not their verbs.
func normal(format string) string {
	return verb.ReplaceAllStringFunc(format, func(v string) string {
		if v == "%%" {
			return v
		}
		return "%s"
	})
}

// fill replaces the verbs of a format by arguments that are formatted already.
func fill(format string, args []string) string {
	next := 0
	return verb.ReplaceAllStringFunc(format, func(v string) string {
		if v == "%%" {
			return "%"
		}
		at := next
		if n, err := strconv.Atoi(verb.FindStringSubmatch(v)[1]); err == nil {
			at = n - 1
		}
		if next = at + 1; at >= len(args) {
			return v
		}
		return args[at]
	})
}
