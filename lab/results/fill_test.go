package results

import (
	"strings"
	"testing"
)

var some = All{
	"soak": {
		Parameters: map[string]string{"DURATION": "24h", "KILLS": "510"}, HostSeconds: 5400,
		Figures: map[string]float64{"drops": 0, "ratio": 0.98523, "late.low": 83, "late.high": 157},
	},
	"matrix": {Figures: map[string]float64{
		"a.median_s": 7.5, "a.worst_s": 11.4, "a.times": 10, "a.lost": 0,
		"b.never": 1, "b.times": 10, "b.lost": 10,
		"c.median_s": 20, "c.times": 10, "c.lost": 2,
	}},
	"links": {Figures: map[string]float64{"few.cpu_percent": 0.34, "few.rss_mb": 16, "many.cpu_percent": 137, "many.rss_mb": 10240}},
}

func TestFill(t *testing.T) {
	for text, want := range map[string]string{
		"7<!-- soak drops --> drops":      "0<!-- soak drops --> drops",
		"in 1<!-- soak DURATION --> h":    "in 24<!-- soak DURATION --> h",
		"1<!-- soak KILLS --> kills":      "510<!-- soak KILLS --> kills",
		"1 to 2<!-- soak late --> ms":     "83 to 157<!-- soak late --> ms",
		"0.9<!-- soak ratio -->":          "0.985<!-- soak ratio -->",
		"0.9<!-- soak ratio %.2f -->":     "0.99<!-- soak ratio %.2f -->",
		"1<!-- soak host_minutes --> min": "90<!-- soak host_minutes --> min",
		"<!-- figures\n{{n \"soak\" \"drops\"}}\n-->\n\nold\n\n<!-- end of figures -->": "<!-- figures\n{{n \"soak\" \"drops\"}}\n-->\n\n0\n\n<!-- end of figures -->",
		"<!-- figures\n{{n \"soak\" \"other\"}}\n-->\n\n\n<!-- end of figures -->":      "<!-- figures\n{{n \"soak\" \"other\"}}\n-->\n\n–\n\n<!-- end of figures -->",
	} {
		got, err := some.Fill(text)
		if got != want || err != nil {
			t.Errorf("%q becomes %q, want %q, %v", text, got, want, err)
		}
		if again, _ := some.Fill(got); again != got {
			t.Errorf("%q becomes %q the next time", got, again)
		}
	}
}

func TestFillWithoutTheFigure(t *testing.T) {
	for _, text := range []string{"7<!-- soak nothing -->", "7<!-- nobody drops -->", "<!-- figures\n{{file \"nobody\"}}-->\n\n\n<!-- end of figures -->"} {
		if got, err := some.Fill(text); err == nil {
			t.Errorf("%q becomes %q without an error", text, got)
		}
	}
}

func TestCells(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{some.back("matrix", "a"), "7.5 s (11.4)"},
		{some.back("matrix", "b"), "never"},
		{some.back("matrix", "c"), "20.0 s (2 of 10 never)"},
		{some.back("matrix", "d"), dash},
		{some.use("links", "few"), "0.34 %, 16 MB"},
		{some.use("links", "many"), "137 %, 10 GB"},
		{some.use("links", "none"), dash},
		{took(0), dash}, {took(80), "80 s"}, {took(1800), "30 min"}, {took(86400), "24 h"},
		{(&Machine{CPU: "Intel Xeon", Cores: 2}).String(), "Intel Xeon, 2 cores"},
		{(*Machine)(nil).String(), dash},
	} {
		if c.got != c.want {
			t.Errorf("a cell is %q, want %q", c.got, c.want)
		}
	}
}

func TestOutput(t *testing.T) {
	o := Output{Figures: map[string]float64{}}
	for line := range strings.Lines(`pkg: xl2tpd-keepalive/internal/l2tp
BenchmarkParse-2   	 1000	      123.4 ns/op	      16 B/op
ok  	xl2tpd-keepalive/internal/l2tp	1.2s
ok  	xl2tpd-keepalive/probe	(cached)
=== RUN   FuzzPacket
=== RUN   FuzzPacket/seed#0
fuzz: elapsed: 3s, execs: 17 (5/sec), new interesting: 1 (total: 80)
fuzz: elapsed: 6s, execs: 4242 (5/sec), new interesting: 2 (total: 81)
=== ATTR  TestFleet fleet-1000.cpu_percent 0.25
    scale_test.go:48: 1000 tunnels
lab: 93 passed, 0 failed
`) {
		o.Line(strings.TrimRight(line, "\n"))
	}
	for name, want := range map[string]float64{
		"internal/l2tp.Parse.ns/op": 123.4, "internal/l2tp.Parse.B/op": 16, "packages": 2,
		"FuzzPacket.execs": 4242, "FuzzPacket.inputs": 81, "fleet-1000.cpu_percent": 0.25, "lab.passed": 93,
	} {
		if got, ok := o.Figures[name]; !ok || got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
		delete(o.Figures, name)
	}
	if len(o.Figures) > 0 {
		t.Errorf("besides: %v", o.Figures)
	}
}

func TestAddKeepsBoth(t *testing.T) {
	r := Begin("", false)
	r.Add("a.", map[string]float64{"b": 1.23456})
	r.Add("a.", map[string]float64{"b": 12345.6})
	if r.Figures["a.b"] != 1.235 || r.Figures["a.b#2"] != 12346 {
		t.Errorf("figures are %v", r.Figures)
	}
}

func TestWriteAndRead(t *testing.T) {
	dir := t.TempDir()
	r := Begin("0123", true)
	r.Add("", map[string]float64{"drops": 0})
	if _, err := r.Write(dir, "soak-auto"); err != nil {
		t.Fatal(err)
	}
	all, err := Read(dir)
	if err != nil || all["soak-auto"] == nil || !all["soak-auto"].Dirty || all["soak-auto"].Machine.Cores == 0 {
		t.Fatalf("read %+v, %v", all["soak-auto"], err)
	}
}
