package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"xl2tpd-keepalive/lab/event"
)

type word = func(ts *testscript.TestScript, neg bool, args []string)

// commands are what a scenario can say besides testscript's own words; lab/README.md lists them.
var commands = map[string]word{
	"peer":      peerCommand,
	"twin":      twinCommand,
	"peers":     peersCommand,
	"client":    clientCommand,
	"keepalive": keepaliveCommand,
	"dial":      dialCommand,
	"hangup":    hangupCommand,
	"instance":  instanceCommand,
	"daemon":    daemonCommand,
	"sleep":     sleepCommand,
	"await":     awaitCommand,
	"up":        upCommand,
	"closed":    closedCommand,
	"echo-in":   echoInCommand,
	"echoes":    echoesCommand,
	"load":      loadCommand,
	"compare":   compareCommand,
	"inside":    insideCommand,
	"peerlog":   peerlogCommand,
	"acked":     ackedCommand,
	"in-order":  inOrderCommand,
	"journal":   journalCommand,
	"mark":      markCommand,
	"figures":   figuresCommand,
	"picture":   pictureCommand,
	"status":    statusCommand,
	"sas":       sasCommand,
	"pin":       pinCommand,
	"pinned":    pinnedCommand,
	"startup":   startupCommand,
	"cost":      costCommand,
	"ratio":     ratioCommand,
	"renumber":  renumberCommand,
	"traced":    tracedCommand,
	"trouble":   troubleCommand,
	"chaos":     chaosCommand,
	"peercount": peercountCommand,
	"held":      heldCommand,
	"named":     namedCommand,
	"bounded":   boundedCommand,
	"doctor":    doctorCommand,
	"cure":      cureCommand,
	"capture":   captureCommand,
	"keep":      keepCommand,
	"similar":   similarCommand,
	"line":      lineCommand,
	"drops":     dropsCommand,
}

func clientOf(ts *testscript.TestScript) *client { return ts.Value(clientKey{}).(*client) }

func usage(ts *testscript.TestScript, neg bool, ok bool, text string) {
	if neg || !ok {
		ts.Fatalf("usage: %s", text)
	}
}

// options parts key=value words from the others, for a command that knows these keys.
func options(ts *testscript.TestScript, args []string, keys ...string) (words []string, opts map[string]string) {
	words, opts = settingsIn(args)
	for k := range opts {
		if !slices.Contains(keys, k) {
			ts.Fatalf("unknown option %s, want one of %s", k, strings.Join(keys, ", "))
		}
	}
	return words, opts
}

// settingsIn parts key=value words from the others.
func settingsIn(args []string) (words []string, all map[string]string) {
	all = map[string]string{}
	for _, a := range args {
		if k, v, ok := strings.Cut(a, "="); ok {
			all[k] = v
		} else {
			words = append(words, a)
		}
	}
	return words, all
}

func peersOf(ts *testscript.TestScript, names []string) []*peer {
	c := clientOf(ts)
	if len(names) == 0 {
		return c.peers
	}
	var peers []*peer
	for _, name := range names {
		p := c.find(func(p *peer) bool { return p.name == name })
		if p == nil {
			ts.Fatalf("no peer is called %s", name)
		}
		peers = append(peers, p)
	}
	return peers
}

func duration(ts *testscript.TestScript, text string) time.Duration {
	d, err := time.ParseDuration(text)
	ts.Check(err)
	return d
}

// sleepCommand lets guest time pass, and marks each hour of a long sleep.
func sleepCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1, "sleep DURATION")
	d := duration(ts, args[0])
	began := time.Now()
	for passed := time.Hour; passed < d; passed += time.Hour {
		time.Sleep(time.Until(began.Add(passed)))
		clientOf(ts).mark("%s of %s", passed, d)
	}
	time.Sleep(time.Until(began.Add(d)))
}

// markCommand names a point in the timeline.
func markCommand(ts *testscript.TestScript, neg bool, args []string) {
	clientOf(ts).mark("%s", strings.Join(args, " "))
}

func (c *client) mark(format string, args ...any) {
	c.out.report(event.Event{Kind: event.Mark, Text: fmt.Sprintf(format, args...)})
}

func (c *client) measure(format string, args ...any) { c.measured(nil, format, args...) }

// measured reports figures too. A word "figures" of the scenario has named what they are of.
func (c *client) measured(figures event.Figures, format string, args ...any) {
	named := event.Figures{}
	for name, value := range figures {
		named[c.figures+name] = value
	}
	c.out.report(event.Event{Kind: event.Measure, Text: fmt.Sprintf(format, args...), Figures: named})
}

// figuresCommand gives the figures from here on a name in front of their own.
func figuresCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 1, "figures NAME")
	clientOf(ts).figures = args[0] + "."
}
