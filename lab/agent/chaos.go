package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"xl2tpd-keepalive/lab/event"
)

// operator is the only harmless fault: an operator hangs up, and dials again later.
const operator = "operator"

// faults are what chaos draws from, by weight. Of one group, only one fault is active at each end. A fault of the client
// host affects all its tunnels.
var faults = []struct {
	name, group string
	weight      int
	host        bool
}{
	{name: "pppd-killed", group: "pppd", weight: 4},
	{name: "sa-wiped", group: "sa", weight: 4},
	{name: "cut-10s", group: "cut", weight: 4},
	{name: "cut-3m", group: "cut", weight: 3},
	{name: "reboot", group: "reboot", weight: 3},
	{name: operator, group: "operator", weight: 3},
	{name: "charon-killed", group: "charon", weight: 2, host: true},
	{name: "xl2tpd-killed", group: "xl2tpd", weight: 2, host: true},
}

const (
	between = 75 * time.Second // faults, on average
	calm    = 10 * time.Minute // at the end: twice the longest pause of recovery
	offFor  = 8 * time.Minute  // before the end one tunnel is hung up and stays down
	// underWay is how long a step may last that recovery began before it could know of the hang-up.
	underWay = 16 * time.Second
)

// blow is one planned fault.
type blow struct {
	at    time.Duration // after the beginning
	fault int
	peer  int           // of a fault that does not come over the host
	pause time.Duration // until the operator dials again
}

// plan draws blows by a seed, and the peer that is hung up at the end. only are the names of the faults; empty: all.
func plan(seed uint64, peers int, span time.Duration, only []string) (blows []blow, off int) {
	rng := rand.New(rand.NewPCG(seed, 0))
	var lots []int
	for i, f := range faults {
		if len(only) == 0 || slices.Contains(only, f.name) {
			lots = append(lots, slices.Repeat([]int{i}, f.weight)...)
		}
	}
	off = rng.IntN(peers)
	for at := time.Duration(0); ; {
		at += time.Duration(rng.ExpFloat64() * float64(between)).Round(100 * time.Millisecond)
		b := blow{at: at, fault: lots[rng.IntN(len(lots))], peer: rng.IntN(peers), pause: 20*time.Second + time.Duration(rng.IntN(60))*time.Second}
		if at > span-calm {
			return blows, off
		}
		blows = append(blows, b)
	}
}

// chaos is the run of one seed.
type chaos struct {
	client *client
	peers  []*peer // that the faults come over
	began  time.Time
	ends   time.Time
	daemon sync.Mutex // xl2tpd is not killed while it is told something, and the other way round

	mu      sync.Mutex
	busy    map[string]bool // groups of faults, with their peer
	active  map[*peer]int   // faults under way
	struck  map[*peer]int   // faults so far
	off     map[*peer]bool  // hung up
	counts  map[string]int
	missed  int // faults that met nothing to strike
	worst   time.Duration
	worstOf string
	wrong   []string
}

// errNothing says that there was nothing to strike.
var errNothing = errors.New("nothing to strike")

func chaosCommand(ts *testscript.TestScript, neg bool, args []string) {
	words, opts := options(ts, args, "of", "faults")
	usage(ts, neg, len(words) == 2, "chaos SEED DURATION [of=NAME,...] [faults=FAULT,...]")
	seed, err := strconv.ParseUint(words[0], 10, 64)
	ts.Check(err)
	span := duration(ts, words[1])
	peers := clientOf(ts).peers
	if of := opts["of"]; of != "" {
		peers = peersOf(ts, strings.Split(of, ","))
	}
	var only []string
	if names := opts["faults"]; names != "" {
		only = strings.Split(names, ",")
	}
	if span <= calm {
		ts.Fatalf("chaos: the last %v are without faults", calm)
	}
	c := &chaos{
		client: clientOf(ts), peers: peers, began: time.Now(), ends: time.Now().Add(span),
		busy: map[string]bool{}, active: map[*peer]int{}, struck: map[*peer]int{}, off: map[*peer]bool{}, counts: map[string]int{},
	}
	was := ourUse(ts)
	var wg sync.WaitGroup
	blows, last := plan(seed, len(peers), span, only)
	for _, b := range blows {
		time.Sleep(time.Until(c.began.Add(b.at)))
		wg.Go(func() { c.blow(b) })
	}
	time.Sleep(time.Until(c.ends.Add(-offFor)))
	off := peers[last]
	wg.Go(func() { c.leaveOff(off) })
	time.Sleep(time.Until(c.ends))
	wg.Wait() // those that wait for a tunnel give up at the end

	for _, p := range peers {
		if p != off && poll(30*time.Second, p.answers) != nil {
			c.complain("%s is not back: %s", p.name, c.lately(p.name))
		}
	}
	leaks := "none"
	if err := poll(time.Minute, func() bool { leaks = was.leaks(ourUse(ts)); return leaks == "none" }); err != nil {
		c.complain("leaks: %s", leaks)
	}
	var drawn []string
	for _, f := range faults {
		if len(only) > 0 && !slices.Contains(only, f.name) {
			continue
		}
		drawn = append(drawn, fmt.Sprintf("%s %d", f.name, c.counts[f.name]))
	}
	text := fmt.Sprintf("seed %d: %d faults (%s; %d met nothing), back after %.1f s at worst%s, leaks: %s, off stays off: %s",
		seed, len(blows), strings.Join(drawn, ", "), c.missed, c.worst.Seconds(), c.worstOf, leaks, off.name)
	if len(c.wrong) > 0 {
		text += "\nWRONG: " + strings.Join(c.wrong, "\nWRONG: ")
	}
	c.client.out.report(event.Event{Time: time.Now(), Kind: event.Measure, Name: "chaos", Text: text, Figures: event.Figures{
		"faults": float64(len(blows) - c.missed), "worst_s": c.worst.Seconds(), "wrong": float64(len(c.wrong)),
	}})
	if len(c.wrong) > 0 {
		ts.Fatalf("%s", strings.Join(c.wrong, "\n"))
	}
}

// complain records a failure.
func (c *chaos) complain(format string, args ...any) {
	text := fmt.Sprintf("after %v: ", time.Since(c.began).Round(time.Second)) + fmt.Sprintf(format, args...)
	c.client.mark("WRONG %s", text)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong = append(c.wrong, text)
}

// blow strikes, and then waits for the tunnels to be back.
func (c *chaos) blow(b blow) {
	f := faults[b.fault]
	peers, key := c.peers[b.peer:b.peer+1], f.group+" "+c.peers[b.peer].name
	if f.host {
		peers, key = c.peers, f.group
	}
	if !c.begin(key, peers) {
		return
	}
	c.client.mark("%v: %s %s", b.at, f.name, peers[0].name)
	err := c.strike(f.name, peers[0], b.pause)
	met := c.end(key, f.name, peers, err)
	switch {
	case errors.Is(err, errNothing):
	case err != nil:
		c.complain("the lab: %s %s: %v", f.name, peers[0].name, err)
	}
	var wg sync.WaitGroup
	for _, p := range peers {
		wg.Go(func() { c.awaitBack(p, met[p], fmt.Sprintf(" (%s, after %s at %v)", p.name, f.name, b.at)) })
	}
	wg.Wait()
}

// begin notes that a fault is under way, unless one of its group is.
func (c *chaos) begin(key string, peers []*peer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy[key] {
		c.missed++
		return false
	}
	c.busy[key] = true
	for _, p := range peers {
		c.active[p]++
		c.struck[p]++
	}
	return true
}

// end notes that it is over, and returns how many have struck each peer so far.
func (c *chaos) end(key, name string, peers []*peer, err error) map[*peer]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(err, errNothing) {
		c.missed++
	} else {
		c.counts[name]++
	}
	delete(c.busy, key)
	met := map[*peer]int{}
	for _, p := range peers {
		c.active[p]--
		met[p] = c.struck[p]
	}
	return met
}

func (c *chaos) strike(name string, p *peer, pause time.Duration) error {
	_, up := isUp(c.client.history.all(), p.name)
	switch {
	case name == operator && up:
		return c.operate(p, pause)
	case (name == operator || name == "pppd-killed") && !up, name == "sa-wiped" && !p.ipsec:
		return errNothing
	case name == "xl2tpd-killed":
		c.daemon.Lock()
		defer c.daemon.Unlock()
		defer time.Sleep(3 * time.Second) // what becomes of its links is seen by then
	}
	err := troubles[name](p)
	if _, up := isUp(c.client.history.all(), p.name); name == "pppd-killed" && err != nil && !up {
		return errNothing
	}
	return err
}

// awaitBack measures how long the tunnel takes to be back, from when the last of overlapping faults is over.
func (c *chaos) awaitBack(p *peer, met int, what string) {
	undisturbed := func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.struck[p] == met && c.active[p] == 0 && !c.off[p] && time.Now().Before(c.ends)
	}
	began := time.Now()
	for undisturbed() {
		if !p.answers() {
			time.Sleep(time.Second)
			continue
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if took := time.Since(began); took > c.worst {
			c.worst, c.worstOf = took, what
		}
		return
	}
}

// operate hangs up, and dials again after a pause.
func (c *chaos) operate(p *peer, pause time.Duration) error {
	at, err := c.hangUp(p)
	if err != nil {
		return err
	}
	time.Sleep(pause)
	c.leftOff(p, at)
	c.mu.Lock()
	c.off[p] = false
	c.mu.Unlock()
	if p.ipsec { // somebody who dials by hand sees to it that there is an SA
		if err := poll(10*time.Minute, func() bool { return p.secure() == nil }); err != nil {
			return fmt.Errorf("no SA to dial by: %w", err)
		}
	}
	c.daemon.Lock()
	defer c.daemon.Unlock()
	return c.client.control(p, "c")
}

// hangUp returns when the tunnel has been hung up.
func (c *chaos) hangUp(p *peer) (at time.Time, err error) {
	c.daemon.Lock()
	defer c.daemon.Unlock()
	records := c.client.history.all()
	if _, up := isUp(records, p.name); !up || len(recoveries(records, p.name, time.Now().Add(-40*time.Second), "hang up")) > 0 {
		return at, errNothing // it is being hung up already
	}
	c.mu.Lock()
	c.off[p] = true
	c.mu.Unlock()
	at = time.Now()
	c.client.history.add(record{at: at, kind: "operator", tunnel: p.name, reason: "operator"})
	if err := c.client.control(p, "d"); err != nil {
		return at, err
	}
	if !c.client.history.awaitState(time.Minute, p.name, false) {
		return at, errors.New("still up a minute after hanging up")
	}
	return at, nil
}

// leaveOff hangs a tunnel up that works, and sees that it is left so to the end.
func (c *chaos) leaveOff(p *peer) {
	at, err := time.Time{}, errNothing
	for errors.Is(err, errNothing) && time.Until(c.ends) > 2*time.Minute {
		time.Sleep(time.Second)
		if p.answers() {
			at, err = c.hangUp(p)
		}
	}
	if err != nil {
		c.complain("%s is not back to be hung up: %v; %s", p.name, err, c.lately(p.name))
		return
	}
	time.Sleep(time.Until(c.ends))
	c.leftOff(p, at)
}

// leftOff notes it if a tunnel that was hung up has been touched since.
func (c *chaos) leftOff(p *peer, at time.Time) {
	records := c.client.history.all()
	touched := append(recoveries(records, p.name, at, "dial"), recoveries(records, p.name, at.Add(underWay), "")...)
	if len(touched) > 0 {
		c.complain("%s was hung up, and not left alone: %s", p.name, strings.Join(touched, "; "))
	}
	if up, is := isUp(records, p.name); is {
		c.complain("%s was hung up, and is up since %v", p.name, up.Sub(c.began).Round(time.Second))
	}
}

// recoveries are what recovery has told of the tunnel since then: of a step, or of any.
func recoveries(records []record, tunnel string, since time.Time, step string) (said []string) {
	for _, r := range records {
		if r.kind == "journal" && r.link == "xl2tpd-keepalive" && r.at.After(since) &&
			strings.Contains(r.text, fmt.Sprintf("tunnel=%q", "lac "+tunnel)) &&
			(strings.HasPrefix(r.text, "bringing the tunnel back") && (strings.Contains(r.text, " step="+step) || strings.Contains(r.text, ` step="`+step)) ||
				strings.HasPrefix(r.text, "can't "+step)) {
			said = append(said, r.text)
		}
	}
	return said
}

// lately returns the service's latest log lines about a tunnel.
func (c *chaos) lately(tunnel string) string {
	records := c.client.history.all()
	for _, r := range slices.Backward(records) {
		if r.kind == "journal" && r.link == "xl2tpd-keepalive" && strings.Contains(r.text, fmt.Sprintf("%q", "lac "+tunnel)) {
			return fmt.Sprintf("%v before: %s", time.Since(r.at).Round(time.Second), r.text)
		}
	}
	return "the journal has no word of it"
}

// use is what the service's process uses, with the files that it keeps of control channels.
type use struct {
	process
	files int
}

func ourUse(ts *testscript.TestScript) use {
	entries, err := os.ReadDir("/run/xl2tpd-keepalive/hello")
	ts.Check(err)
	return use{ourProcess(ts), len(entries)}
}

// leaks compares with what is used later.
func (u use) leaks(now use) string {
	switch {
	case now.pid != u.pid:
		return fmt.Sprintf("another process: %d, was %d", now.pid, u.pid)
	case now.descriptors > u.descriptors, now.files > u.files, now.threads > u.threads+4, now.rss > u.rss*3/2:
		return fmt.Sprintf("%v, %d state files; were %v, %d", now.process, now.files, u.process, u.files)
	}
	return "none"
}
