package main

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

func TestPlan(t *testing.T) {
	const peers, span = 8, time.Hour
	drawn := map[string]int{}
	for seed := range uint64(50) {
		blows, off := plan(seed, peers, span, nil)
		again, _ := plan(seed, peers, span, nil)
		if !reflect.DeepEqual(blows, again) {
			t.Errorf("seed %d has two plans", seed)
		}
		if off < 0 || off >= peers || len(blows) < 10 || len(blows) > 80 {
			t.Errorf("seed %d: %d blows, off %d", seed, len(blows), off)
		}
		for i, b := range blows {
			if b.at > span-calm || i > 0 && b.at < blows[i-1].at || b.peer < 0 || b.peer >= peers {
				t.Errorf("seed %d: %+v", seed, b)
			}
			drawn[faults[b.fault].name]++
		}
	}
	for _, f := range faults {
		if _, ok := troubles[f.name]; !ok && f.name != operator {
			t.Errorf("there is no trouble %s", f.name)
		}
		if drawn[f.name] < 50*f.weight/2 {
			t.Errorf("%s was drawn %d times", f.name, drawn[f.name])
		}
	}
}

func TestRecoveries(t *testing.T) {
	at := time.Unix(100, 0)
	say := func(after time.Duration, text, tunnel string) record {
		return record{at: at.Add(after), kind: "journal", link: "xl2tpd-keepalive", text: fmt.Sprintf("%s tunnel=%q step=dial", text, "lac "+tunnel)}
	}
	records := []record{
		say(-time.Second, "bringing the tunnel back", "a"),
		say(time.Second, "bringing the tunnel back", "a"),
		say(time.Second, "bringing the tunnel back", "ab"),
		say(time.Second, "tunnel down", "a"),
		say(2*time.Second, "can't dial, trying again", "a"),
		{at: at.Add(time.Second), kind: "journal", link: "xl2tpd-keepalive", text: `can't renew the IPsec SA, trying again tunnel="lac a" reason="vici: dial unix"`},
		{at: at.Add(time.Second), kind: "journal", link: "xl2tpd-keepalive", text: `bringing the tunnel back tunnel="lac a" step="dial anew"`},
	}
	if got := recoveries(records, "a", at, "dial"); len(got) != 3 {
		t.Errorf("%q", got)
	}
	if got := recoveries(records, "a", at, ""); len(got) != 4 {
		t.Errorf("%q", got)
	}
	if got := recoveries(records, "a", at, "hang up"); got != nil {
		t.Errorf("%q", got)
	}
}

func TestLeaks(t *testing.T) {
	was := use{process{pid: 7, descriptors: 20, threads: 8, rss: 20000}, 8}
	for name, c := range map[string]struct {
		now   use
		leaks bool
	}{
		"the same":         {was, false},
		"another process":  {use{process{8, 20, 8, 20000}, 8}, true},
		"descriptors":      {use{process{7, 21, 8, 20000}, 8}, true},
		"memory":           {use{process{7, 20, 8, 31000}, 8}, true},
		"files":            {use{process{7, 20, 8, 20000}, 9}, true},
		"threads":          {use{process{7, 20, 20, 20000}, 8}, true},
		"a little more":    {use{process{7, 20, 9, 22000}, 8}, false},
		"less of all that": {use{process{7, 19, 7, 19000}, 7}, false},
	} {
		if got := was.leaks(c.now); (got != "none") != c.leaks {
			t.Errorf("%s: %s", name, got)
		}
	}
}
