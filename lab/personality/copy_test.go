package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/lab/lns/l2tp"
	"xl2tpd-keepalive/lab/personality/infer"
)

var update = flag.Bool("update", false, "write testdata/known.txt")

// scripts are what a user can do while a capture runs.
var scripts = []struct {
	name string
	script
}{
	{"silence", script{length: 4 * time.Minute, delay: 4 * time.Millisecond, hangUp: 3 * time.Minute}},
	{"xl2tpd frozen", script{length: 6 * time.Minute, delay: 4 * time.Millisecond, pings: 5 * time.Second, freeze: 130 * time.Second}},
	{"bad line", script{length: 12 * time.Minute, delay: 4 * time.Millisecond, pings: 5 * time.Second, loss: 0.08, reorder: 0.08, atRouter: true, seed: 1}},
}

// soak is the first ten minutes of one.
var soak = script{length: 10 * time.Minute, delay: 4 * time.Millisecond, pings: 10 * time.Second}

// recipe is a capture as CONTRIBUTING.md says, of a tunnel inside of IPsec: without data.
func recipe(t *testing.T, b l2tp.Behaviour) (log []captured) {
	for i, s := range []script{
		{length: 255 * time.Second, delay: 4 * time.Millisecond, pings: 5 * time.Second, pause: 50 * time.Second, freeze: 100 * time.Second},
		{length: 105 * time.Second, delay: 4 * time.Millisecond, hangUp: 100 * time.Second},
	} {
		for _, c := range converse(t, b, s) {
			if c.at = c.at.Add(time.Duration(i) * time.Hour); l2tp.IsControl(c.payload) || string(c.payload) == otherTraffic {
				log = append(log, c)
			}
		}
	}
	return log
}

// TestBuiltInPersonalities takes captures from each personality, turns them back, and compares key by key.
// testdata/known.txt lists the keys that each capture shows.
func TestBuiltInPersonalities(t *testing.T) {
	files, err := filepath.Glob("../lns/personalities/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for _, file := range files {
		b := load(t, file)
		for _, s := range scripts {
			log := converse(t, b, s.script)
			p := learn(t, log)
			name := b.HostName + ", " + s.name
			if s.loss == 0 {
				similar(t, name, log, converse(t, p.Behaviour, s.script))
			}
			agree(t, name, b, p)
			fmt.Fprintf(&lines, "%s: %s\n", name, strings.Join(known(p), " "))
		}
		p := learnAll(t, recipe(t, b))
		name := b.HostName + ", as CONTRIBUTING.md says"
		for _, seed := range []uint64{0, 1} {
			again := soak
			again.seed = seed
			if differences := check(t, p.Behaviour, converse(t, b, again)); len(differences) > 0 {
				t.Errorf("%s: the copy would have done otherwise in a soak: %q", name, differences)
			}
		}
		agree(t, name, b, p)
		fmt.Fprintf(&lines, "%s: %s\n", name, strings.Join(known(p), " "))
		if row := row(b.HostName, p); !strings.Contains(string(readme), row) {
			t.Errorf("lab/README.md has no row %s", row)
		}
	}
	const golden = "testdata/known.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(lines.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || string(want) != lines.String() {
		t.Errorf("%s is not what is known now, %v:\n%s", golden, err, lines.String())
	}
}

// row is one of the table in lab/README.md.
func row(name string, p *infer.Personality) string {
	keys := slices.DeleteFunc(known(p), func(key string) bool {
		return slices.Contains([]string{"host_name", "vendor", "receive_window", "hello"}, key)
	})
	return fmt.Sprintf("| `%s` | %s |\n", name, strings.Join(keys, ", "))
}

// similar compares what two routers sent in the same conversation, in order for each kind: a Hello and an acknowledgement
// that nearly coincide may change places.
func similar(t *testing.T, name string, one, other []captured) {
	t.Helper()
	for _, text := range unlike(t, one, other) {
		t.Errorf("%s: %s", name, text)
	}
}

func unlike(t *testing.T, one, other []captured) (all []string) {
	a, b := kinds(t, one), kinds(t, other)
	for kind := range b {
		if a[kind] == nil {
			all = append(all, fmt.Sprintf("only the copy sends %v", kind))
		}
	}
	for kind, times := range a {
		same := slices.EqualFunc(times, b[kind], func(x, y time.Time) bool { return x.Sub(y).Abs() < 100*time.Millisecond })
		if !same {
			all = append(all, fmt.Sprintf("%v comes at %v, from the copy at %v", kind, times, b[kind]))
		}
	}
	return all
}

func kinds(t *testing.T, log []captured) map[l2tp.MessageType][]time.Time {
	times := map[l2tp.MessageType][]time.Time{}
	for _, c := range log {
		if !c.fromRouter || !l2tp.IsControl(c.payload) {
			continue
		}
		p, err := l2tp.Parse(c.payload)
		if err != nil {
			t.Fatal(err)
		}
		times[p.Type()] = append(times[p.Type()], c.at)
	}
	return times
}

// Several tunnels with a router show together what each of them alone does not.
func TestTogether(t *testing.T) {
	b := load(t, "../lns/personalities/nvr510.json")
	var log []captured
	for i, s := range scripts {
		if s.loss > 0 {
			continue
		}
		for _, c := range converse(t, b, s.script) {
			c.at = c.at.Add(time.Duration(i) * time.Hour)
			log = append(log, c)
		}
	}
	p := learnAll(t, log)
	agree(t, "together", b, p)
	for _, key := range []string{"hello", "keepalive_interval", "keepalive_tries", "idle", "strict_ns", "retransmit_first"} {
		if !slices.Contains(known(p), key) {
			t.Errorf("%s is not known", key)
		}
	}
}

// learnAll makes one personality from all tunnels.
func learnAll(t *testing.T, log []captured) *infer.Personality {
	t.Helper()
	all := connections(t, log)
	p, err := infer.Learn(all, all...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A capture inside of IPsec has no data. Data that it does not show is no reason to think that there is no idle timer.
func TestWithoutData(t *testing.T) {
	b := load(t, "../lns/personalities/nvr510.json")
	p := learnAll(t, recipe(t, b))
	const negotiation = 2 * time.Second // of PPP, which is data
	if idle := time.Duration(p.Behaviour.Idle - b.Idle); idle < 0 || idle > negotiation || len(p.Remarks) != 1 || !strings.Contains(p.Remarks[0], "sends all") {
		t.Errorf("idle is %v; %q", time.Duration(p.Behaviour.Idle), p.Remarks)
	}
	agree(t, "without data", b, p)
}

func known(p *infer.Personality) (keys []string) {
	for _, f := range p.Findings {
		if f.Known {
			keys = append(keys, f.Key)
		}
	}
	return keys
}

// agree compares all keys that are said to be known.
func agree(t tester, name string, want l2tp.Behaviour, p *infer.Personality) {
	t.Helper()
	for _, f := range p.Findings {
		w, g := field(want, f.Key), field(p.Behaviour, f.Key)
		if f.Known && !same(w, g) {
			t.Errorf("%s: %s is %v, want %v (%s)", name, f.Key, g, w, f.Note)
		}
		if f.Note == "" && f.Key != "about" {
			t.Errorf("%s: nothing is said of %s", name, f.Key)
		}
		if text, err := json.Marshal(g); err != nil || string(text) != f.Value {
			t.Errorf("%s: %s is %s in the file and %s in the personality", name, f.Key, f.Value, text)
		}
	}
}

// same allows durations a hundredth, or what a timer is late.
func same(want, got any) bool {
	w, ok := want.(l2tp.Duration)
	if !ok {
		return want == got
	}
	apart := time.Duration(w - got.(l2tp.Duration)).Abs()
	return apart <= max(time.Duration(w)/100, 3*time.Millisecond)
}

// field is a key's value.
func field(b l2tp.Behaviour, key string) any {
	v := reflect.ValueOf(b)
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("json") == key {
			return v.Field(i).Interface()
		}
	}
	return nil
}
