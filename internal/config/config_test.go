package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"xl2tpd-keepalive/internal/xl2tpdconf"
)

var addrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %v, %d files", pattern, err, len(paths))
	}
	return paths
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Each wrong file has one error, which is the line in the .err file beside it.
func TestWrongFiles(t *testing.T) {
	for _, path := range glob(t, "testdata/wrong/*.conf") {
		want := strings.TrimSuffix(read(t, strings.TrimSuffix(path, "conf")+"err"), "\n")
		_, err := Load(path)
		var e *xl2tpdconf.Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v, want %s", path, err, want)
			continue
		}
		if got := strings.TrimPrefix(err.Error(), "testdata/wrong/"); got != want || strings.Contains(got, "\n") {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func set(keepalive bool, interval, timeout int, target string) Settings {
	s := Defaults()
	s.Keepalive, s.Interval, s.Timeout = keepalive, time.Duration(interval)*time.Second, time.Duration(timeout)*time.Second
	if target != "" {
		s.Target = netip.MustParseAddr(target)
	}
	return s
}

func recovered(r RecoverMode, s Settings) Settings {
	s.Recover = r
	return s
}

// hooked is with the hook of full.conf.
func hooked(s Settings) Settings {
	s.Hook = "/etc/xl2tpd/up and down.sh"
	return s
}

func guarded(g GuardMode, s Settings) Settings {
	s.Guard = g
	return s
}

func TestGoodFiles(t *testing.T) {
	type ask struct{ kind, name string }
	for path, want := range map[string]map[ask]Settings{
		"empty.conf":    {{"lac", "office"}: Defaults(), {"lns", "default"}: Defaults()},
		"comments.conf": {{"lac", "office"}: Defaults(), {"lns", ""}: Defaults()},
		"full.conf": {
			{"lac", "office"}:    hooked(recovered(RecoverAuto, set(true, 4, 4, "192.0.2.1"))),
			{"lac", "OFFICE"}:    hooked(recovered(RecoverAuto, set(true, 4, 4, "192.0.2.1"))),
			{"lac", "two words"}: set(true, 15, 1, ""),
			{"lac", "silent"}:    hooked(guarded(GuardOn, set(false, 15, 5, ""))),
			{"lac", "other"}:     hooked(set(true, 15, 5, "")),
			{"lac", ""}:          hooked(set(true, 15, 5, "")),
			{"lns", "default"}:   hooked(set(true, 3600, 60, "")),
			{"lns", "office"}:    hooked(set(true, 3600, 60, "")),
		},
		"crlf-and-bom.conf": {
			{"lns", "phones"}: set(false, 2, 2, ""),
			{"lac", "other"}:  set(true, 2, 2, ""), // the default timeout gives way
		},
	} {
		c, err := Load("testdata/good/" + path)
		if err != nil {
			t.Error(err)
			continue
		}
		for a, s := range want {
			if d := cmp.Diff(s, c.For("", a.kind, a.name), addrs); d != "" {
				t.Errorf("%s [%s %s]: %s", path, a.kind, a.name, d)
			}
		}
	}
	if n := len(glob(t, "testdata/good/*.conf")); n != 4 {
		t.Errorf("%d good files, 4 are tested", n)
	}
}

// Names are compared as xl2tpd does it: by bytes, and ASCII letters alone have two cases.
func TestNames(t *testing.T) {
	for text, want := range map[string]int{
		"[lac \xc5\xec]\ninterval = 5\n[lac \xc2\xe7]\ninterval = 6\n": 2,
		"[lac Ä]\ninterval = 5\n[lac ä]\ninterval = 6\n":               2,
		"[lac Ae]\ninterval = 5\n[lac aE]\ninterval = 6\n":             0,
	} {
		c, err := Parse("x", []byte(text))
		if want == 0 {
			if err == nil {
				t.Errorf("%q: taken", text)
			}
			continue
		}
		if err != nil || len(c.Sections) != want || c.Sections[0].Settings.Interval == c.Sections[1].Settings.Interval {
			t.Errorf("%q: %v, or not %d different sections", text, err, want)
		}
	}
}

func TestUnknown(t *testing.T) {
	c, err := Load("testdata/good/full.conf")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, text := range c.Unknown(func(string) ([]xl2tpdconf.Header, bool) {
		return []xl2tpdconf.Header{{Kind: "lac", Name: "office"}}, true
	}) {
		got = append(got, text.String())
	}
	want := []string{
		"testdata/good/full.conf:17: no xl2tpd has a [lac two words], this section does nothing",
		"testdata/good/full.conf:21: no xl2tpd has a [lac silent], this section does nothing",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := c.Unknown(func(string) ([]xl2tpdconf.Header, bool) { return nil, false }); got != nil {
		t.Errorf("of files that nobody knows: %q", got)
	}
}

// A misspelt name gets a suggestion if a known name is close.
func TestMeant(t *testing.T) {
	headers := []xl2tpdconf.Header{{Kind: "lac", Name: "Office"}, {Kind: "lac", Name: "tokyo branch"}, {Kind: "lns", Name: "pool"}, {Kind: "lac", Name: ""}}
	for section, want := range map[string]string{
		"lac ofice":              "no xl2tpd has a [lac ofice], this section does nothing; did you mean [lac Office]?",
		"lac offcie":             "no xl2tpd has a [lac offcie], this section does nothing; did you mean [lac Office]?",
		"lac tokyo-branch":       "no xl2tpd has a [lac tokyo-branch], this section does nothing; did you mean [lac tokyo branch]?",
		"lns office":             "no xl2tpd has a [lns office], this section does nothing; did you mean [lac Office]?",
		"lac pool":               "no xl2tpd has a [lac pool], this section does nothing; did you mean [lns pool]?",
		"lns defualt":            "no xl2tpd has a [lns defualt], this section does nothing; did you mean [lns default]?",
		"lac /etc/b.conf ofice":  "/etc/b.conf has no [lac ofice], this section does nothing; did you mean [lac /etc/b.conf Office]?",
		"lac a":                  "no xl2tpd has a [lac a], this section does nothing",
		"lac home":               "no xl2tpd has a [lac home], this section does nothing",
		"lac OFFICE":             "",
		"lac /etc/b.conf office": "",
		"lac default":            "",
	} {
		c, err := Parse("k", []byte("["+section+"]\nkeepalive = no\n"))
		if err != nil {
			t.Fatal(err)
		}
		got := c.Unknown(func(string) ([]xl2tpdconf.Header, bool) { return headers, true })
		if want == "" && got != nil || want != "" && (len(got) != 1 || got[0].String() != "k:1: "+want) {
			t.Errorf("%s: got %q, want %q", section, got, want)
		}
	}
}

// [KIND FILE NAME] is for the xl2tpd with that file alone, and comes before [KIND NAME].
func TestForOneFile(t *testing.T) {
	c, err := Parse("", []byte("[lac office]\ninterval = 20\n[lac /etc/b.conf office]\ninterval = 30\n"+
		"[lns /etc/b.conf two words]\ninterval = 40\n[lac /etc/b.conf]\ninterval = 50\n[lac default]\ninterval = 5\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		path, kind, name string
		want             time.Duration
	}{
		{"/etc/a.conf", "lac", "office", 20 * time.Second},
		{"/etc/b.conf", "lac", "Office", 30 * time.Second},
		{"/etc/b.conf", "lns", "two words", 40 * time.Second},
		{"/etc/a.conf", "lns", "two words", 10 * time.Second},
		{"/etc/b.conf", "lac", "other", 5 * time.Second},
		{"/etc/a.conf", "lac", "/etc/b.conf", 50 * time.Second}, // a section may be called so
	} {
		if got := c.For(tc.path, tc.kind, tc.name).Interval; got != tc.want {
			t.Errorf("[%s %s] of %s: %v, want %v", tc.kind, tc.name, tc.path, got, tc.want)
		}
	}
	// What the section for one file does not set comes from the one for all.
	c, err = Parse("", []byte("[lac office]\nfailures = 5\ninterval = 20\n[lac /etc/b.conf office]\ninterval = 30\n[lac default]\nhook = /a\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.For("/etc/b.conf", "lac", "office"); got.Failures != 5 || got.Interval != 30*time.Second || got.Hook != "/a" {
		t.Errorf("got %+v, want the section of this file over that of all files", got)
	}
}

// Sections for one file are compared with that file.
func TestUnknownForOneFile(t *testing.T) {
	c, err := Parse("", []byte("[lac office]\n[lac /etc/b.conf office]\n[lns /etc/b.conf two words]\n[lac /etc/b.conf]\n"))
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	c.Unknown(func(path string) ([]xl2tpdconf.Header, bool) {
		asked = append(asked, path)
		return nil, true
	})
	want := []string{"", "/etc/b.conf", "/etc/b.conf", ""}
	if !slices.Equal(asked, want) {
		t.Errorf("%q, want %q", asked, want)
	}
}

func TestHooks(t *testing.T) {
	c, err := Parse("", []byte("[lac a]\nhook = /b\n[lac b]\nhook = off\n[lns default]\nhook = /a\n[lns c]\ninterval = 9\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Hooks(); !slices.Equal(got, []string{"/a", "/b"}) {
		t.Errorf("got %q, want %q", got, []string{"/a", "/b"})
	}
}

func TestLoadMissing(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// The installed file has only [global] and comments, and its comments state the real defaults.
func TestInstalledFile(t *testing.T) {
	const path = "../../deploy/keepalive.conf"
	text := read(t, path)
	c, err := Parse(path, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Default(path), c, addrs); d != "" {
		t.Error(d)
	}
	// One setting is uncommented, as the first edit does.
	first := strings.Replace(text, "\n;interval = 10\n", "\ninterval = 20\n", 1)
	if c, err := Parse(path, []byte(first)); err != nil || c.Global.Interval != 20*time.Second {
		t.Errorf("with interval = 20: %v", err)
	}
	// ";key = value" and ";[section]" are examples, "; text" is not.
	examples := regexp.MustCompile(`(?m)^;(\S)`).ReplaceAllString(text, "$1")
	if c, err = Parse(path, []byte(examples)); err != nil {
		t.Fatal(err)
	}
	withTarget := Defaults()
	withTarget.Target = netip.MustParseAddr("192.0.2.1")
	for _, s := range []struct{ got, want Settings }{
		{c.Global, Defaults()}, {c.For("", "lns", "x"), Defaults()}, {c.For("", "lac", "x"), Defaults()}, {c.For("", "lac", "office"), withTarget},
	} {
		if d := cmp.Diff(s.want, s.got, addrs); d != "" {
			t.Errorf("mismatch (-want +got):\n%s", d)
		}
	}
	if len(c.Sections) != 2 {
		t.Errorf("got %+v, want both sections", c.Sections)
	}
	for _, key := range []string{"keepalive", "interval", "timeout", "failures", "target", "hello guard", "recover", "hook", "metrics"} {
		if !strings.Contains(text, "\n;"+key+" = ") {
			t.Errorf("%s is not in it", key)
		}
	}
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if line != "" && line[0] != ';' && line != "[global]" || len(line) > 79 {
			t.Errorf("line %d: %s", i+1, line)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/wrong/*.conf", "testdata/good/*.conf"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data)
		if all := Mistakes("f", data); (err == nil) != (len(all) == 0) {
			t.Fatalf("%v, and %v", err, all)
		}
		if err != nil {
			var e *xl2tpdconf.Error
			if !errors.As(err, &e) || e.Line < 1 || e.Path != "f" || strings.ContainsAny(err.Error(), "\n\r") {
				t.Fatalf("got %q, want one line with file and line", err)
			}
			return
		}
		check(t, c.Global)
		for _, s := range c.Sections {
			check(t, s.Settings)
		}
	})
}

type fataler interface{ Fatalf(string, ...any) }

func check(t fataler, s Settings) {
	if s.Interval < time.Second || s.Interval > time.Hour || s.Timeout < time.Second || s.Timeout > time.Minute || s.Timeout > s.Interval ||
		s.Target.IsValid() && !s.Target.Is4() {
		t.Fatalf("got %+v, want values within their limits", s)
	}
}

// Config.Guard is the highest of all tunnels.
func TestGuard(t *testing.T) {
	for text, want := range map[string]GuardMode{
		"":                               GuardAuto,
		"[global]\nhello guard = auto\n": GuardAuto,
		"[global]\nhello guard = on\n":   GuardOn,
		"[global]\nhello guard = off\n":  GuardOff,
		"[global]\nkeepalive = no\n":     GuardOff,
		"[global]\nkeepalive = observe\nhello guard = on\n":          GuardOff,
		"[global]\nkeepalive = observe\n[lac a]\nkeepalive = yes\n":  GuardAuto,
		"[lac a]\nhello guard = off\n":                               GuardAuto,
		"[global]\nhello guard = off\n[lac a]\nhello guard = on\n":   GuardOn,
		"[global]\nhello guard = off\n[lac a]\nhello guard = auto\n": GuardAuto,
	} {
		c, err := Parse("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Guard(); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestSendsEchoes(t *testing.T) {
	for text, want := range map[string]bool{
		"":                                true,
		"[global]\nhello guard = off\n":   true,
		"[global]\nkeepalive = no\n":      false,
		"[global]\nkeepalive = observe\n": false,
		"[global]\nkeepalive = observe\n[lac a]\nkeepalive = yes\n": true,
		"[global]\nkeepalive = no\n[lns a]\nkeepalive = observe\n":  false,
	} {
		c, err := Parse("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.SendsEchoes(); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

// A tunnel that is only observed is not recovered, whatever recover says.
func TestObserve(t *testing.T) {
	c, err := Parse("f", []byte("[global]\nkeepalive = observe\nrecover = full\n[lac a]\nkeepalive = yes\n"))
	if err != nil {
		t.Fatal(err)
	}
	if s := c.Global; !s.Keepalive || !s.Observe || s.Recovery(true) != RecoverOff {
		t.Errorf("got %+v, want observe, and no recovery", s)
	}
	if s := c.For("", "lac", "a"); s.Observe || s.Recovery(true) != RecoverFull {
		t.Errorf("got %+v, want no observe, and full recovery", s)
	}
}

func TestMetrics(t *testing.T) {
	for text, want := range map[string]Listen{
		"": {}, "[global]\nmetrics = Off\n": {},
		"[global]\nmetrics = /run/x/metrics\n": {"unix", "/run/x/metrics"},
		"[global]\nmetrics = 127.0.0.1:9174\n": {"tcp", "127.0.0.1:9174"},
		"[global]\nmetrics = localhost:9174\n": {"tcp", "127.0.0.1:9174"},
		"[global]\nmetrics = [::1]:9174\n":     {"tcp", "[::1]:9174"},
	} {
		c, err := Parse("f", []byte(text))
		if err != nil || c.Metrics != want {
			t.Errorf("%q: %v %v, want %v", text, c, err, want)
		}
	}
}

// Metrics that everybody or nobody can read get a warning.
func TestMetricsFault(t *testing.T) {
	for value, want := range map[string]string{
		"off": "", "127.0.0.1:9174": "", "192.0.2.1:9174": "", "/run/xl2tpd-keepalive/metrics": "",
		"0.0.0.0:9174": "127.0.0.1:9174 is for this host alone", "[::]:1": "127.0.0.1:1 is for this host alone",
		"/tmp/x.sock": "below /run/xl2tpd-keepalive/", "/run/xl2tpd-keepalive-other/x": "below /run/xl2tpd-keepalive/",
	} {
		c, err := Parse("f", []byte("[global]\nmetrics = "+value+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.MetricsFault(); (got == "") != (want == "") || !strings.Contains(got.String(), want) {
			t.Errorf("%s: %q, want …%s…", value, got, want)
		}
	}
}

// The log says what has been read, also of a file with [global] alone.
func TestSummary(t *testing.T) {
	for text, want := range map[string]string{
		"[global]\ninterval = 20\nrecover = yes\n":        "[keepalive yes interval 20s timeout 3s failures 3 hello_guard auto recover auto]",
		"[global]\nkeepalive = observe\n[lac a]\n":        "[keepalive observe interval 10s timeout 3s failures 3 hello_guard auto recover off own_sections 1]",
		"[global]\nhook = /b\nmetrics = 127.0.0.1:9174\n": "[keepalive yes interval 10s timeout 3s failures 3 hello_guard auto recover off hook /b metrics 127.0.0.1:9174]",
	} {
		c, err := Parse("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(c.summary()); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// Settings written in full come back, whatever the order of the sections.
func TestFormatParse(t *testing.T) {
	names := []string{"a", "B", "two words", "default"}
	rapid.Check(t, func(t *rapid.T) {
		type section struct {
			kind, name string
			s          Settings
		}
		var want []section
		var parts []string
		for _, kind := range []string{"lac", "lns"} {
			for _, name := range names {
				if !rapid.Bool().Draw(t, "has "+kind+name) {
					continue
				}
				interval := rapid.IntRange(minInterval, maxInterval).Draw(t, "interval")
				timeout := rapid.IntRange(minTimeout, min(maxTimeout, interval)).Draw(t, "timeout")
				s := set(rapid.Bool().Draw(t, "keepalive"), interval, timeout, "")
				s.Failures = rapid.IntRange(minFailures, maxFailures).Draw(t, "failures")
				s.Observe = s.Keepalive && rapid.Bool().Draw(t, "observe")
				if kind == "lac" {
					s.Target = netip.AddrFrom4([4]byte{192, 0, 2, rapid.Byte().Draw(t, "target")})
				}
				want = append(want, section{kind, name, s})
				parts = append(parts, format(kind, name, s))
			}
		}
		c, err := Parse("f", []byte(strings.Join(rapid.Permutation(parts).Draw(t, "order"), "\n")))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if d := cmp.Diff(w.s, c.For("", w.kind, strings.ToUpper(w.name)), addrs); d != "" {
				t.Fatalf("[%s %s] %s", w.kind, w.name, d)
			}
		}
	})
}

func format(kind, name string, s Settings) string {
	keepalive := map[bool]string{true: "yes", false: "no"}[s.Keepalive]
	if s.Observe {
		keepalive = "Observe"
	}
	text := "[" + kind + " " + name + "]\nkeepalive = " + keepalive +
		"\ninterval = " + strconv.Itoa(int(s.Interval.Seconds())) + " ; seconds\ntimeout=" + strconv.Itoa(int(s.Timeout.Seconds())) +
		"\nfailures = " + strconv.Itoa(s.Failures) + "\n"
	if s.Target.IsValid() {
		text += "target = " + s.Target.String() + "\n"
	}
	return text
}

// The words for yes and no are the same for every key that has them.
func TestWordsForYesAndNo(t *testing.T) {
	with := func(change func(*Settings)) Settings {
		s := Defaults()
		change(&s)
		return s
	}
	for key, want := range map[string]map[bool]Settings{
		"keepalive": {true: Defaults(), false: with(func(s *Settings) { s.Keepalive = false })},
		"hello guard": {
			true: with(func(s *Settings) { s.Guard = GuardOn }), false: with(func(s *Settings) { s.Guard = GuardOff }),
		},
		"recover": {true: with(func(s *Settings) { s.Recover = RecoverAuto }), false: Defaults()},
		"hook":    {false: Defaults()},
		"metrics": {false: Defaults()},
	} {
		for word, on := range map[string]bool{"yes": true, "On": true, "true": true, "no": false, "OFF": false, "false": false} {
			s, known := want[on]
			c, err := Parse("f", []byte("[global]\n"+key+" = "+word+"\n"))
			switch {
			case !known && err == nil:
				t.Errorf("%s = %s: taken", key, word)
			case known && err != nil:
				t.Errorf("%s = %s: %v", key, word, err)
			case known && (c.Global != s || c.Metrics != Listen{}):
				t.Errorf("%s = %s: %+v, want %+v", key, word, c.Global, s)
			}
		}
	}
}

// Each mistake is reported with its line, and nothing else is.
func TestMistakes(t *testing.T) {
	for text, want := range map[string][]int{
		"[global]\ninterval = 5\n":                                           nil,
		"[global]\ninterval = x\n# c\nhook\n[lac a]\nrecover = 1\n":          {2, 3, 4, 6},
		"interval = 5\n[lac a]\ntarget = x\n[lac A]\ntarget = y\n":           {1, 3, 4, 5},
		"[global]\ninterval = x\ntimeout = 20\n":                             {2},    // timeout may be right
		"[global]\ntimeout = 0\n[lac a\nmetrics = off\nhook = x\n":           {2, 3}, // the section of these keys is unknown
		"[lac a]\ntimeout = 20\n[lac b]\ntimeout = 30\n":                     {2, 4},
		"[global]\ntimeout = 20\n[lac b]\nkeepalive = no\n":                  {2}, // once, not for each section
		"[global]\n" + strings.Repeat("#\n", 20) + "[lac a]\ninterval = x\n": {2, 3, 4, 5, 6, 7, 8, 9, 10, 11},
		strings.Repeat("\n", 1<<20) + "x":                                    {1},
	} {
		var got []int
		for _, e := range Mistakes("f", []byte(text)) {
			if got = append(got, e.Line); e.Path != "f" {
				t.Errorf("%q: the mistake %v is not of the file f", text, e)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%.60q: lines %v, want %v", text, got, want)
		}
	}
}
