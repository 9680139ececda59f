package status

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/message"
)

var update = flag.Bool("update", false, "write testdata anew")

func ms(n int) *Seconds {
	s := Seconds(time.Duration(n) * time.Millisecond)
	return &s
}

func sample() Status {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	addr := netip.MustParseAddr
	return Status{
		Version: "1.0", Time: now, Problems: []Problem{{Text: "VICI unreachable"}},
		Tunnels: []Tunnel{{
			Name: "lac office", Peer: addr("192.0.2.1"), State: "alive", Since: ago(26 * time.Hour),
			Doing: message.Sprintf("echo request in %v unless data comes", 7*time.Second),
			Link: &Link{
				Name: "ppp0", Local: addr("10.0.0.2"), Remote: addr("10.0.0.1"), Up: ago(26 * time.Hour), Target: addr("10.0.0.1"),
				Echoes:   Echoes{Sent: 1204, Lost: 2, Recent: []*Seconds{ms(8), ms(1), nil, ms(4), ms(8)}},
				Evidence: Evidence{Reply: ago(3 * time.Second), Data: ago(time.Minute), Control: ago(5 * time.Second)},
			},
			SA:    &SA{Name: "tokyo", State: "ESTABLISHED", Since: ago(27 * time.Hour), NAT: true},
			Guard: &Guard{Mode: "auto", Holding: true, Held: 251, Passed: 2, Answered: 3},
			Last:  &Close{Time: ago(27 * time.Hour), After: Seconds(91 * time.Second), Reason: message.Sprintf("xl2tpd's Hello was unanswered for %.0f s", 31.0)},
		}, {
			Name: "lac branch", Peer: addr("192.0.2.9"), State: "down", Doing: "xl2tpd redials",
		}, {
			State: "up", Since: ago(time.Second), Doing: "waits for an echo reply",
			Link: &Link{Name: "ppp1\x1b[2J", Local: addr("10.1.0.2"), Remote: addr("10.1.0.1"), Up: ago(time.Second), Target: addr("10.9.9.9"),
				Echoes: Echoes{Sent: 1, Lost: 1, Recent: []*Seconds{nil}}},
			Guard: &Guard{Mode: "on"},
		}},
	}
}

// Where Libreswan does IPsec, that is said once. No SA is then not known, and not none.
func TestTextWithLibreswan(t *testing.T) {
	var b strings.Builder
	r := Status{Libreswan: true, Tunnels: []Tunnel{{Name: "lac a", State: "alive"}, {Name: "lac b", State: "alive"}}}
	if err := Text(&b, r, false, nil); err != nil {
		t.Fatal(err)
	}
	for text, times := range map[string]int{"• Libreswan's SAs are not watched": 1, "SA      not watched\n": 2, "none": 0, "!": 0} {
		if n := strings.Count(b.String(), text); n != times {
			t.Errorf("%q %d times, want %d, in\n%s", text, n, times, b.String())
		}
	}
}

// The page as it is, compared line by line; -update writes it anew.
func TestText(t *testing.T) {
	for name, lang := range map[string]*message.Language{"plain": nil, "colours": nil, "japanese": message.Japanese()} {
		colours := name == "colours"
		var b bytes.Buffer
		if err := Text(&b, sample(), colours, lang); err != nil {
			t.Fatal(err)
		}
		path := "testdata/" + name + ".txt"
		if *update {
			if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if b.String() != string(want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, b.String(), want)
		}
		if !colours && strings.ContainsRune(b.String(), 0x1b) {
			t.Error("an escape without colours")
		}
	}
}

// Each tunnel has one line, in columns.
func TestShort(t *testing.T) {
	var b bytes.Buffer
	if err := Short(&b, sample(), false, nil); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"! VICI unreachable",
		"  → sudo xl2tpd-keepalive doctor looks for the reason",
		"lac office         alive  1d2h  192.0.2.1  ppp0      8.0 ms, 0.2 % lost",
		"lac branch         down   -     192.0.2.9  -         -",
		"(unknown section)  up     1s    -          ppp1?[2J  lost, 100.0 % lost",
		"",
	}, "\n")
	if b.String() != want {
		t.Errorf("%s\nwant\n%s", b.String(), want)
	}
}

// A Japanese letter takes two columns.
func TestShortInJapanese(t *testing.T) {
	r := sample()
	r.Problems, r.Tunnels[1].Name, r.Tunnels = nil, "lac 大阪", r.Tunnels[:2]
	var b bytes.Buffer
	if err := Short(&b, r, true, message.Japanese()); err != nil {
		t.Fatal(err)
	}
	want := "lac office  \x1b[32m疎通あり\x1b[0m  1 日 2 時間  192.0.2.1  ppp0  8.0 ms、損失 0.2 %\n" +
		"lac 大阪    \x1b[31m切断\x1b[0m      -            192.0.2.9  -     -\n"
	if b.String() != want {
		t.Errorf("%s\nwant\n%s", b.String(), want)
	}
}

// JSON is English, and has no marks.
func TestJSONIsPlain(t *testing.T) {
	b, err := json.Marshal(sample())
	if err != nil || !strings.Contains(string(b), `"echo request in 7s unless data comes"`) ||
		!strings.Contains(string(b), `"xl2tpd's Hello was unanswered for 31 s"`) {
		t.Errorf("the JSON lacks a text: %s %v", b, err)
	}
}

func TestNamed(t *testing.T) {
	all := sample().Tunnels
	all[2].Link.Name = "ppp1"
	for names, want := range map[string]int{"": 3, "office": 1, "LAC Branch": 1, "office|branch": 2, "ppp1": 1, "office|office": 1, "lac|office": 1} {
		got, err := Named(all, strings.FieldsFunc(names, func(r rune) bool { return r == '|' }))
		if err != nil || len(got) != want {
			t.Errorf("%q: %d tunnels, want %d; %v", names, len(got), want, err)
		}
	}
	for _, name := range []string{"nowhere", "", "lac"} {
		if _, err := Named(all, []string{"office", name}); err == nil {
			t.Errorf("%q is the name of a tunnel", name)
		}
	}
	if _, err := Named(all, []string{"ofice"}); err == nil || err.Error() != `there is no tunnel "ofice", did you mean "office"?` {
		t.Error(err)
	}
	if len(all) != 3 {
		t.Error("the status has been changed")
	}
	if got, err := Named([]Tunnel{{Name: "lns"}, {Name: "lac"}}, []string{"lns"}); err != nil || len(got) != 1 {
		t.Errorf("[lns] without a name: got %v, %v", got, err)
	}
}

// What is not known is left out, and not the year 1.
func TestJSONOfUnknownTime(t *testing.T) {
	b, err := json.Marshal(Tunnel{Name: "lac office", State: "down"})
	if err != nil || strings.Contains(string(b), "0001-01-01") {
		t.Errorf("the JSON has a time that is not known: %s %v", b, err)
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second:              "0s",
		59*time.Second + 600*1e6:  "1m00s",
		185 * time.Second:         "3m05s",
		4*time.Hour + time.Minute: "4h01m",
		220 * time.Hour:           "9d4h",
	} {
		if got := span(d).String(); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestSparkline(t *testing.T) {
	if got := sparkline([]*Seconds{ms(0), ms(1), nil, ms(8)}); got != "▁▁×█" {
		t.Errorf("got %q", got)
	}
	if got := sparkline([]*Seconds{ms(0), nil}); got != "▁×" {
		t.Errorf("got %q", got)
	}
}
