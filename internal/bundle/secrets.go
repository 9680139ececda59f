package bundle

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// leastSecret is the shortest secret that is looked for in everything. Shorter ones are parts of usual words.
const leastSecret = 4

// scrubber takes secrets out of texts that may have them anywhere, such as logs: the very secrets of this host, and what
// looks like one.
type scrubber struct {
	known *strings.Replacer
}

// newScrubber takes the texts of the files that hold nothing but secrets, and of configuration that may hold some. They
// are read for this alone.
func newScrubber(secrets, configuration []string) scrubber {
	var all []string
	for _, text := range secrets {
		all = append(all, secretsOf(text)...)
	}
	for _, text := range configuration {
		all = append(all, assignedIn(text)...)
	}
	// The longest first, because one may be a part of another.
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	var pairs []string
	for _, s := range slices.Compact(all) {
		pairs = append(pairs, s, removed)
	}
	return scrubber{strings.NewReplacer(pairs...)}
}

var (
	// escapedWord is a word of pppd's or of xl2tpd's files in which a backslash is before a blank or a quote.
	escapedWord = regexp.MustCompile(`(?:\\.|[^\s"'\\])+`)

	quotedWord = regexp.MustCompile(`"((?:[^"\\\n]|\\.)+)"|'([^'\n]+)'`)
	afterType  = regexp.MustCompile(`\b(?:PSK|XAUTH|EAP|NTLM|PIN)\s+(\S+)`)

	// assigned is a key that is for secrets, with its value. Sections may open on the same line.
	assigned = regexp.MustCompile(`(?m)^\s*(?:[\w-]+\s*\{\s*)*[\w-]*(?:secret|password|passwd|psk|challenge)[\w-]*` +
		`[ \t]*[=:][ \t]*` + word)

	// worded is an option of pppd, where the value is the next word, perhaps on the next line.
	worded = regexp.MustCompile(`(?m)^(?:[^#\n]*\s)?password[\s\\]+` + word)
)

// secretsOf returns what may be a secret in a file of secrets. That is each quoted word, and what is behind a kind of
// secret or a key for one. In pppd's and xl2tpd's files it is the third word of a line.
func secretsOf(text string) []string {
	all := assignedIn(text)
	for _, pattern := range []*regexp.Regexp{quotedWord, afterType} {
		all = append(all, matches(pattern, text)...)
	}
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) >= 3 && !strings.HasPrefix(words[0], "#") {
			all = append(all, secret(words[2])...)
		}
		if words := escapedWord.FindAllString(line, 3); len(words) == 3 && strings.Contains(words[2], `\`) {
			all = append(all, secret(unescaped.ReplaceAllString(words[2], "$1"))...)
		}
	}
	return all
}

// word is a value, in quotes or not.
const word = `(?:"([^"\n]+)"|'([^'\n]+)'|([^\s"'#;}]+))`

// assignedIn returns the values of keys that are for secrets.
func assignedIn(text string) []string {
	return append(matches(assigned, text), matches(worded, text)...)
}

func matches(pattern *regexp.Regexp, text string) (all []string) {
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		for _, group := range m[1:] {
			all = append(all, secret(group)...)
		}
	}
	return all
}

// unescaped is what a backslash protects.
var unescaped = regexp.MustCompile(`\\(.)`)

// secret returns the forms in which a secret may stand elsewhere; none if it is too usual a word.
func secret(s string) []string {
	s = strings.Trim(s, `"'`)
	if len(s) < leastSecret || plain[strings.ToLower(s)] {
		return nil
	}
	if bare := unescaped.ReplaceAllString(s, "$1"); bare != s {
		return append([]string{s}, secret(bare)...)
	}
	if coded, ok := strings.CutPrefix(s, "0s"); ok && len(coded) >= leastSecret { // base64, as strongSwan writes it
		return []string{s, coded}
	}
	return []string{s}
}

var (
	// looksSecret are parts of log lines that hold secrets: pppd with show-password, and what programs log about keys.
	looksSecret = regexp.MustCompile(`(?i)((?:password|passwd|secret|psk|pre-shared key|challenge|response|skeyid\w*|key)\b"?` +
		`\s*(?:[=:]\s*|\s))("[^"]*"|0[sx]\S+)`)
	// hexDump is one line of charon's hexadecimal dumps, which have keys at high log levels.
	hexDump = regexp.MustCompile(`(?m)^.*\b[0-9]+: (?:[0-9A-Fa-f]{2} ){4,}.*$`)
	// proof is a challenge or a response of CHAP in pppd's log: with both a password can be guessed.
	proof = regexp.MustCompile(`<[0-9a-fA-F]{16,}>`)
	// longHex is a number of 128 bits or more, such as a key in `ip xfrm state`.
	longHex = regexp.MustCompile(`\b0x[0-9a-fA-F]{32,}\b`)
	pem     = regexp.MustCompile(`(?s)-----BEGIN [^-]*PRIVATE KEY-----.*?(?:-----END [^-]*-----|\z)`)
)

// clean returns a text without any secret that is known or looks like one.
func (s scrubber) clean(text string) string {
	text = s.known.Replace(text)
	text = pem.ReplaceAllString(text, removed)
	text = hexDump.ReplaceAllString(text, removed)
	text = proof.ReplaceAllString(text, "<"+removed+">")
	text = longHex.ReplaceAllString(text, removed)
	return looksSecret.ReplaceAllString(text, "${1}"+removed)
}
