package bundle

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// places are where people have secrets, by format. SECRET stands for one.
var places = map[string][]string{
	"xl2tpd": {"; SECRET", "port = 1701 ; SECRET", "SECRET", "SECRET = yes", "SECRET =", "password = SECRET", "challenge = SECRET", "[lac a] SECRET", "[SECRET", "# SECRET"},
	"ppp": {"# SECRET", "noauth # SECRET", "password SECRET", "password 'SECRET a' noauth", "password\nSECRET", "password \\\nSECRET", "noauth SECRET mtu 1400",
		"connect SECRET", "\"SECRET\"", "mtu \"SECRET\"", "mtu\n\"SECRET\"", "mtu\nSECRET", "SECRET"},
	"ipsec": {"# SECRET", "\tright=1.2.3.4 # SECRET", "SECRET", "SECRET=", "SECRET=yes", "psk=SECRET", "conn a SECRET"},
	"swanctl": {"# SECRET", "a { b = SECRET }", "secrets { ike { secret = SECRET } }", "secrets {\nike-1 { secret = \"a } SECRET\" } }", "SECRET", "\"SECRET\" { }",
		"secret = SECRET", "secrets { SECRET }", "secrets { a { b { c = SECRET } } d = SECRET }", "auth = psk # SECRET", "SECRET = 1", "a = \"b\\\" SECRET"},
}

var redactors = map[string]redactor{"xl2tpd": xl2tpdConf, "ppp": pppOptions, "ipsec": ipsecConf, "swanctl": swanctl}

// harmlessLines stand around them.
var harmlessLines = map[string][]string{
	"xl2tpd": {"", "[global]", "[lac office]", "lns = 192.0.2.1", "redial = yes"}, "ppp": {"", "noauth", "mtu 1400", "name office"},
	"ipsec": {"", "conn a", "\tauthby=secret"}, "swanctl": {"", "version = 1", "connections { a { mode = transport } }", "}"},
}

// Wherever a secret stands, and whatever stands around it, the redacted file does not have it.
func TestRedacted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		format := rapid.SampledFrom([]string{"xl2tpd", "ppp", "ipsec", "swanctl"}).Draw(t, "format")
		line := rapid.OneOf(rapid.SampledFrom(places[format]), rapid.SampledFrom(harmlessLines[format]))
		secret := rapid.StringMatching(`ZQ[a-zA-Z0-9+/]{6,30}={0,2}`).Draw(t, "secret")
		text := strings.ReplaceAll(strings.Join(rapid.SliceOfN(line, 0, 12).Draw(t, "lines"), "\n"), "SECRET", secret)
		if got := redactors[format](text); strings.Contains(got, "ZQ") {
			t.Fatalf("%s:\n%s\nbecame\n%s", format, text, got)
		}
	})
}

// Nothing makes a redactor fail.
func TestRedactAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z{}=#;"'\\\n\t ]{0,60}`)).Draw(t, "text")
		for format, redact := range redactors {
			if redact(text); format == "swanctl" && strings.Count(redact(text), "{") > strings.Count(text, "{") {
				t.Fatalf("%q: more sections", text)
			}
		}
		newScrubber([]string{text}, []string{text}).clean(text)
	})
}

// What is looked for in everything are the secrets, and no words that are usual elsewhere.
func TestSecretsOf(t *testing.T) {
	for text, want := range map[string][]string{
		"# client server secret\nalice * hunter22\n":        {"hunter22"},
		"* * \"\" *\nguest host \"*\" -\n":                  nil,
		": PSK \"a b c d\"":                                 {"a b c d"},
		"h1 h2 : PSK 0sYWJjZGVm":                            {"0sYWJjZGVm", "YWJjZGVm"},
		"[vpn-secrets]\npassword=hunter22\nipsec-psk=abcde": {"hunter22", "abcde"},
		`a * "\a\b" *` + "\n":                               {`\a\b`}, // "ab" is everywhere
	} {
		got := secretsOf(text)
		slices.Sort(got)
		slices.Sort(want)
		if got = slices.Compact(got); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string][]string{
		"hide-password\nnoauth\npassword hunter22 mtu 1400\n": {"hunter22"},
		"noauth password\nhunter22\n":                         {"hunter22"},
		"# the password string of a log\n":                    nil,
		"authby=secret\nkeyexchange=ikev1\nchallenge = yes":   nil,
		"secrets { ike-1 { secret = \"hunter 22\" } }":        {"hunter 22"},
		"secrets {\n ike {\n  secret = hunter22 # x\n }\n}":   {"hunter22"},
	} {
		if got := assignedIn(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
