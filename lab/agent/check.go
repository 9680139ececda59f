package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"xl2tpd-keepalive/lab/event"
)

// awaitCommand waits for tunnels to come up or go down.
func awaitCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 2, "await up|down DURATION [NAME...]")
	c := clientOf(ts)
	for _, p := range peersOf(ts, args[2:]) {
		if !c.history.awaitState(duration(ts, args[1]), p.name, args[0] == "up") {
			ts.Fatalf("%s: not %s within %s", p.name, args[0], args[1])
		}
	}
}

// upCommand holds when the tunnels are up and have been without a break since they were last dialled.
func upCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, true, "up [NAME...]")
	records := clientOf(ts).history.all()
	for _, p := range peersOf(ts, args) {
		dialled, _ := last(records, "dial", p.name)
		if down, ok := last(records, "down", p.name); ok && down.at.After(dialled.at) {
			ts.Fatalf("%s: closed %s: %s", p.name, lifetime(records, p.name), reason(records, p.name, down.at))
		}
		if _, up := isUp(records, p.name); !up {
			ts.Fatalf("%s: never came up", p.name)
		}
	}
}

// closedCommand holds when the tunnel's last life was that long and ended for that reason.
func closedCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 3, "closed NAME after=MIN..MAX reason=REASON[|REASON]")
	words, opts := options(ts, args, "after", "reason")
	c := clientOf(ts)
	time.Sleep(2 * time.Second) // the reason comes after the fact
	records := c.history.all()
	lo, hi, _ := strings.Cut(opts["after"], "..")
	for _, p := range peersOf(ts, words) {
		down, ok := last(records, "down", p.name)
		if !ok {
			ts.Fatalf("%s: never closed", p.name)
		}
		life, why := lifetime(records, p.name), reason(records, p.name, down.at)
		c.measure("%s: closed after %.1f s: %s", p.name, life.Seconds(), why)
		if life < duration(ts, lo) || life > duration(ts, hi) || !slices.Contains(strings.Split(opts["reason"], "|"), why) {
			ts.Fatalf("%s: closed after %v: %s; wanted %s and %s", p.name, life, why, opts["after"], opts["reason"])
		}
	}
}

func lifetime(records []record, tunnel string) time.Duration {
	down, _ := last(records, "down", tunnel)
	var since time.Time
	for _, r := range records {
		if r.kind == "up" && r.tunnel == tunnel && r.at.Before(down.at) {
			since = r.at
		}
	}
	return down.at.Sub(since).Round(time.Millisecond)
}

// many is how many tunnels get a line each, and no more.
const many = 10

// echoInCommand holds when the first echo request followed each tunnel's last coming up within the limit.
func echoInCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 1, "echo-in LIMIT [NAME...]")
	c := clientOf(ts)
	limit := duration(ts, args[0])
	peers := peersOf(ts, args[1:])
	var worst time.Duration
	for _, p := range peers {
		up, ok := isUp(c.history.all(), p.name)
		if !ok {
			ts.Fatalf("%s: not up", p.name)
		}
		// On a busy machine the observer of the addresses can come behind that of the echo request.
		down, _ := last(c.history.all(), "down", p.name)
		first := func(records []record) (time.Time, bool) {
			i := slices.IndexFunc(records, func(r record) bool { return r.kind == "echo" && r.tunnel == p.name && r.at.After(down.at) })
			if i < 0 {
				return time.Time{}, false
			}
			return records[i].at, true
		}
		c.history.await(time.Until(up.Add(limit)), func(r []record) bool { _, ok := first(r); return ok })
		at, ok := first(c.history.all())
		if !ok || at.Sub(up) > limit {
			ts.Fatalf("%s: no echo request within %v of its addresses", p.name, limit)
		}
		worst = max(worst, at.Sub(up))
		if len(peers) <= many {
			c.measure("%s: first echo request %d ms after its addresses", p.name, at.Sub(up).Milliseconds())
		}
	}
	if len(peers) > many {
		c.measured(event.Figures{"first_echo_worst_s": worst.Seconds()},
			"each of %d tunnels: first echo request %d ms after its addresses at the latest", len(peers), worst.Milliseconds())
	}
}

// echoesCommand holds when the tunnel's last DURATION saw that many echo requests, all through its own pppN.
func echoesCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 3, "echoes NAME MIN..MAX DURATION")
	c := clientOf(ts)
	p := peersOf(ts, args[:1])[0]
	least, most := bounds(ts, args[1])
	records, since, n := c.history.all(), time.Now().Add(-duration(ts, args[2])), 0
	up, _ := last(records, "up", p.name)
	for _, r := range records {
		if r.kind == "echo" && r.tunnel == p.name && r.at.After(since) {
			n++
			if r.at.After(up.at) && r.link != up.link {
				ts.Fatalf("%s: an echo request left by %s, not by %s", p.name, r.link, up.link)
			}
		}
	}
	c.measure("%s: %d echo requests in the last %s", p.name, n, args[2])
	if n < least || n > most {
		ts.Fatalf("%s: %d echo requests in the last %s, wanted %s", p.name, n, args[2], args[1])
	}
}

// peerlogCommand holds when the peer's daemon has logged that since the peer was last dialled, or with ! when it has not:
// the lab's LNS an event, with that reason or about that message if one is given, a real xl2tpd a text. There may be
// several names with commas; "all" are the peers that have the lab's LNS.
func peerlogCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, false, len(args) == 2 || len(args) == 3, "peerlog NAMES|all EVENT [REASON|MESSAGE] | peerlog NAME TEXT")
	c := clientOf(ts)
	for _, p := range loggedPeers(ts, args[0]) {
		found := slices.ContainsFunc(sinceDialled(c.history.all(), p), func(r record) bool {
			return r.kind == "lns" && r.text == args[1] && (len(args) == 2 || r.reason == args[2])
		})
		log, text := p.log("lns.log"), `"event":"`+args[1]+`"`
		if p.isXl2tpd() {
			usage(ts, false, len(args) == 2, "peerlog NAME TEXT")
			log, text = p.log(xl2tpdLog), args[1]
			log = log[min(p.said, len(log)):]
			found = strings.Contains(log, text)
		}
		if found == neg {
			if neg {
				ts.Logf("%s", before(log, text))
			}
			ts.Fatalf("%s: logged %s: %v", p.name, strings.Join(args[1:], " "), found)
		}
	}
}

// loggedPeers are the peers of such a list; all are those with an LNS that logs events.
func loggedPeers(ts *testscript.TestScript, list string) []*peer {
	if list == "all" {
		return slices.DeleteFunc(slices.Clone(clientOf(ts).peers), (*peer).isXl2tpd)
	}
	return peersOf(ts, strings.Split(list, ","))
}

// peercountCommand holds when the peer's xl2tpd has logged that text so many times since the peer was last dialled.
func peercountCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 3, "peercount NAME MIN..MAX TEXT")
	p := peersOf(ts, args[:1])[0]
	least, most := bounds(ts, args[1])
	log := p.log(xl2tpdLog)
	n := strings.Count(log[min(p.said, len(log)):], args[2])
	clientOf(ts).measured(event.Figures{p.name + ".count": float64(n)}, "%s: %d times %q", p.name, n, args[2])
	if n < least || n > most {
		ts.Fatalf("%s: %d times %q, wanted %s", p.name, n, args[2], args[1])
	}
}

// bounds reads MIN..MAX.
func bounds(ts *testscript.TestScript, text string) (least, most int) {
	lo, hi, ok := strings.Cut(text, "..")
	least, err1 := strconv.Atoi(lo)
	most, err2 := strconv.Atoi(hi)
	if !ok || err1 != nil || err2 != nil {
		ts.Fatalf("%q is not MIN..MAX", text)
	}
	return least, most
}

// before is the latest line of the log with that text, and the ten lines ahead of it.
func before(log, text string) string {
	lines := strings.Split(log, "\n")
	for i, line := range slices.Backward(lines) {
		if strings.Contains(line, text) {
			return strings.Join(lines[max(0, i-10):i+1], "\n")
		}
	}
	return ""
}

// ackedCommand holds when every Hello of these peers was acknowledged, and 99.9 % of them within that time. Hellos count since
// the peer was last dialled, or those of the last DURATION. With as=NAME all peers together have one set of figures.
func ackedCommand(ts *testscript.TestScript, neg bool, args []string) {
	names, opts := options(ts, args, "within", "last", "as")
	usage(ts, neg, len(names) > 0, "acked all|NAME... [last=DURATION] [as=NAME] [within=DURATION]")
	var since time.Time
	if last, ok := opts["last"]; ok {
		since = time.Now().Add(-duration(ts, last))
	}
	peers := loggedPeers(ts, strings.Join(names, ","))
	if together, ok := opts["as"]; ok {
		acked(ts, together, peers, since, opts["within"])
		return
	}
	for _, p := range peers {
		acked(ts, p.name, []*peer{p}, since, opts["within"])
	}
}

// acked measures how long the Hellos of these peers waited for their acknowledgements.
func acked(ts *testscript.TestScript, name string, peers []*peer, since time.Time, within string) {
	c := clientOf(ts)
	var got hellos
	ok := c.history.await(12*time.Second, func(records []record) bool { // one may be under way, or about to be sent again: by NVR510 after 10 s
		got = hellos{}
		for _, p := range peers {
			got.add(sinceDialled(records, p), since)
		}
		return got.sent > 0 && got.sent == len(got.waited)
	})
	c.measure("%s: %d of the peer's %d Hellos acknowledged, %d sent again", name, len(got.waited), got.sent, got.again)
	if !ok {
		for _, p := range peers {
			ts.Logf("%s", aroundUnacked(sinceDialled(c.history.all(), p)))
		}
		ts.Fatalf("%s: %d of the peer's %d Hellos acknowledged", name, len(got.waited), got.sent)
	}
	slices.Sort(got.waited)
	butOneIn := func(n int) time.Duration { return got.waited[got.sent-1-got.sent/n] }
	median, most, late, worst := got.waited[got.sent/2], butOneIn(100), butOneIn(1000), got.waited[got.sent-1]
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
	c.measured(event.Figures{name + ".acked_median_ms": ms(median), name + ".acked_p99_ms": ms(most),
		name + ".acked_p99.9_ms": ms(late), name + ".acked_worst_ms": ms(worst)},
		"%s: acknowledged after %v (median), %v (99 %%), %v (99.9 %%), %v at most", name, median, most, late, worst)
	if within != "" && late > duration(ts, within) {
		for _, p := range peers {
			ts.Logf("%s", aroundLate(sinceDialled(c.history.all(), p), late))
		}
		ts.Fatalf("%s: 99.9 %% of the peer's Hellos were acknowledged within %v, wanted %s", name, late, within)
	}
}

// hellos are those of peers' LNSs, and how long they waited for their acknowledgements.
type hellos struct {
	sent, again int
	waited      []time.Duration
}

// add adds the Hellos that one peer has first sent since a time. It sends one after the other.
func (h *hellos) add(records []record, since time.Time) {
	counts := false
	for _, r := range records {
		if r.text == "hello-sent" && r.try == 1 {
			counts = !r.at.Before(since)
		}
		switch {
		case !counts:
		case r.text == "hello-sent" && r.try == 1:
			h.sent++
		case r.text == "hello-sent":
			h.again++
		case r.text == "hello-acked":
			h.waited = append(h.waited, r.waited)
		}
	}
}

// aroundLate is what the peer did while a Hello waited for its acknowledgement that long.
func aroundLate(records []record, waited time.Duration) string {
	i := slices.IndexFunc(records, func(r record) bool { return r.waited >= waited })
	if i < 0 {
		return ""
	}
	return around(records, records[i].at.Add(-waited), records[i].at)
}

// aroundUnacked is what the peer did in the minute after the first Hello that was not acknowledged before its next one.
func aroundUnacked(records []record) string {
	var out *record
	for _, r := range records {
		first := r.text == "hello-sent" && r.try == 1
		if first && out != nil {
			break
		}
		if first {
			out = &r
		} else if r.text == "hello-acked" {
			out = nil
		}
	}
	if out == nil {
		return ""
	}
	return around(records, out.at, out.at.Add(time.Minute))
}

// around is what the peer did from a second before one time to another.
func around(records []record, from, to time.Time) string {
	var b strings.Builder
	for _, r := range records {
		if !r.at.Before(from.Add(-time.Second)) && !r.at.After(to) {
			fmt.Fprintf(&b, "%s: %s, Ns %d, due %d, try %d\n", r.at.Format("15:04:05.000"), r.text, r.ns, r.due, r.try)
		}
	}
	return b.String()
}

// inOrderCommand holds when whatever has come too early to these peers since they were last dialled had overtaken a
// Hello that was lost, as what waits for a process that is killed is: xl2tpd has sent it again within that time.
func inOrderCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "in-order NAMES|all DURATION")
	c := clientOf(ts)
	within := duration(ts, args[1])
	for _, p := range loggedPeers(ts, args[0]) {
		overtaken := 0
		records := sinceDialled(c.history.all(), p)
		for i, early := range records {
			if early.text == "close" {
				break // a StopCCN comes under each number that the peer may expect; it has taken one
			}
			if early.text != "out-of-order" {
				continue
			}
			overtaken++
			if !slices.ContainsFunc(records[i:], func(r record) bool {
				return r.text == "hello-received" && r.ns == early.due && r.at.Sub(early.at) <= within
			}) {
				ts.Fatalf("%s: number %d came when %d was due, and that has not come", p.name, early.ns, early.due)
			}
		}
		c.measure("%s: %d times a lost Hello was overtaken", p.name, overtaken)
	}
}

// sinceDialled is what was seen of the peer since it was last dialled.
func sinceDialled(records []record, p *peer) (own []record) {
	dialled, _ := last(records, "dial", p.name)
	for _, r := range records {
		if r.tunnel == p.name && !r.at.Before(dialled.at) {
			own = append(own, r)
		}
	}
	return own
}

// journalCommand waits until that program has said that text, or holds with ! when it has not so far.
func journalCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, false, len(args) == 3, "journal PROGRAM TEXT DURATION")
	said := func(records []record) bool {
		return slices.ContainsFunc(records, func(r record) bool {
			return r.kind == "journal" && r.link == args[0] && strings.Contains(r.text, args[1])
		})
	}
	if clientOf(ts).history.await(duration(ts, args[2]), said) == neg {
		ts.Fatalf("%s said %q: %v", args[0], args[1], !neg)
	}
}
