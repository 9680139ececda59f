package terminal

import "testing"

func TestShown(t *testing.T) {
	for text, want := range map[string]string{
		"one\r\ntwo\r\n":                          "one\ntwo\n",
		"progress 1\rprogress 2":                  "progress 2\n",
		"long\nlonger\n\x1b[Hl\x1b[K\nmore\x1b[J": "l\nmore\n",
		"a\nb\nc\n\x1b[HA\x1b[K\n\x1b[J":          "A\n\n",
		"\n\nthird":                               "\n\nthird\n",
		"\x1b[31mred\x1b[0m plain\n":              "\x1b[0m\x1b[31mred\x1b[0m plain\n",
		"\x1b[31mred\x1b[Hp\x1b[m":                "\x1b[0m\x1b[31mped\x1b[0m\n",
		"\x1b[1m\x1b[32mb\x1b[0m":                 "\x1b[0m\x1b[1m\x1b[32mb\x1b[0m\n",
		"no\x1b[?25l cursor\x1b[":                 "no cursor\n",
	} {
		if got := shown(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
