package translator

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"xl2tpd-keepalive/internal/l2tp"
)

// The invariants of a tunnel with a translator in between. They hold whatever the network
// loses, doubles, delays and reorders, and whatever the links show. They hold wherever the
// counting starts (Ns and Nr wrap), and wherever the guard is killed and restarted from what it
// has stored, leaves in order, or has its table taken away. While the guard is down, packets go
// past it as long as the numbers agree. They are lost when the numbers do not agree:
//
//  1. Messages that are no Hello arrive in each direction in order, each once,
//     none skipped.
//  2. Neither end ever takes a message for acknowledged that the other has not
//     taken, but for Hellos. xl2tpd's are acknowledged in the peer's name, the
//     peer's in xl2tpd's name while xl2tpd is alive.
//  3. While one translator lives, the Nr that leave it never go backwards, in
//     either direction. A copy of xl2tpd's Hello is an exception, for it keeps its own.
//     Another one is what the peer acknowledges beyond all that the translator has seen
//     xl2tpd send.
//  4. A peer that dies without a sign of life is found dead no later than
//     xl2tpd would find it: one Hello interval and its retransmissions after.
//     With a raised `max retries` xl2tpd does not find it.
//  5. On a calm line neither end ever gives up. Calm means: the network loses
//     nothing, the links always show life, xl2tpd is alive and has its own Hello
//     interval (shorter ones are there to stress the rest). The guard is killed
//     seldom, or every 7 s: one that is down loses packets. The peer may answer
//     Hellos, drop them, take them without an answer, or put odd numbers into its
//     ZLBs. In the end StopCCN arrives and is acknowledged. (But see 10.)
//  6. On such a network that keeps the order, while every packet meets the
//     translator, the peer sees no number ahead of the one that it expects. It
//     sees no ZLB with a number after it either. (But see 10.)
//  7. A packet with wrong ids, ports or checksum, or with numbers out of reach,
//     leaves the state as it was.
//  8. On such a network, where Hellos are offered, the numbers of a peer that
//     answers them agree with xl2tpd's in the end: it can do without the guard.
//  9. When xl2tpd has died, and the translator closes the tunnel in its name, the
//     peer takes a StopCCN. When the peer has died, and the translator
//     acknowledges xl2tpd's StopCCN, xl2tpd is done with the tunnel immediately.
//     Both hold on a network that loses nothing, and as far as the translator
//     knows the numbers.
//
//  10. The exceptions: a Hello may have gone out before the translator looked, and
//     the peer drops Hellos and has not spoken since. Or the translator began in
//     the middle, the peer has never spoken, and the guard was killed within each
//     time of length quiet; or the translator came after the last retransmission
//     of a Hello; a restarted one has kept no number of a tunnel whose peer has counted
//     Hellos before. Or several transmissions in 31 s met a guard that was down. Or
//     one other than a Hello did, and no life of the guard was long enough to
//     work out what became of it. Or the only answer of a peer that answers no
//     duplicate met a guard that was down. Or a message that the peer does not send
//     again in time did so. Or the peer's line has gone less than 7 s after
//     a message of either end. The message or its answer met a guard that was down,
//     or the ZLB for the peer's was held back, and nobody can send more. That end
//     gives up. Without the guard it waited for no answer when the line went: the peer
//     does not notice, and xl2tpd notices with its next Hello. Or a message crossed the
//     last one of a peer that answers no duplicate, and nothing while its own message is
//     out: without the guard the same end gives up.
//
//  11. Where luck plays no part, no end gives up that would not give up without
//     the guard, see comparable.
//
// What the model leaves out, because no one in the middle can help it: a packet
// that is overtaken by more than lateness, and an xl2tpd that hangs while a
// translator without any state listens. Nor is there a peer that repeats a message
// after a minute with the Nr of the first time: that looks like a new message.

type millis = int64

type course struct {
	seed                uint64
	name                string // of the implementation, or empty
	peer                peer
	helloEvery          millis
	maxRetries          int    // xl2tpd's `max retries`; 0: 5
	capBackoff          millis // xl2tpd's `cap backoff`; 0: none
	wrapSafe            bool
	xStart, pStart      uint16
	loss, dup, late     float64
	delay               millis  // each way
	lo                  float64 // loss between translator and xl2tpd
	fresh               int     // evidence of the links: 0 always, 1 never, 2 changing
	kills               int
	down                int    // how the guard goes down: 0 it is killed, 1 it leaves in order, 2 its table is taken away
	gone                millis // for how long at most; 0: 3 s
	traits              bool   // of a tunnel that does not need the guard, only the peer's traits are kept
	firstUp             millis // the guard first starts then
	length              millis
	messages            int
	hang, crash, unplug millis // 0: never
	letGo               millis // no Hello is to be held any more from then on
	ownerless           bool   // the guard does not know which xl2tpd the tunnel is of
	unread              bool   // it can't read xl2tpd.conf
	cut, cutFor         millis // the line is cut then, for so long
	forge, passFirst    bool
	storm               bool
	asks                int  // times that the peer is asked for a sign of life
	acksStops           bool // StopCCN to a dead peer is acknowledged, and sent for a dead xl2tpd
	cross               bool // the ends send their Hellos at the same moments
}

// calm: nothing is lost and everything is alive, so nobody may give up.
func (w *world) calm() bool {
	h := &w.h
	// xl2tpd keeps nothing that comes early: of late packets, packets that meet a
	// guard that is down, and a Hello every 3 s, any two are too many; and a lazy
	// peer doesn't send them again in time.
	if h.raised() && (h.firstUp > 0 || w.anew > 0) { // of a Hello that went past, copies come without an end
		return false
	}
	down := h.kills > 0 || h.storm
	if down && h.late > 0 || h.peer.wedges && h.late > 0 || (h.late > 0 || down) && (h.peer.lazy || h.peer.keepalive == 3000) {
		return false
	}
	return h.kills <= 5 && h.helloEvery == 60000 && h.lossless() && h.fresh == 0 && h.hang == 0 && h.crash == 0 && h.unplug == 0 &&
		h.letGo == 0 && h.gone == 0 && !h.ownerless && h.patience() >= roundTrip.Milliseconds()
}

// retries is how often xl2tpd sends a message before it gives up.
func (h *course) retries() int { return cmp.Or(h.maxRetries, 5) }

// raised: xl2tpd sends more copies than by default.
func (h *course) raised() bool { return h.retries() > 5 }

// wait is how long xl2tpd waits after the nth copy of a message.
func (h *course) wait(n int) millis {
	return min(millis(1000)<<min(n-1, 31), cmp.Or(h.capBackoff, math.MaxInt64))
}

// patience is how long xl2tpd waits for the answer to a message.
func (h *course) patience() (all millis) {
	for n := range min(h.retries(), 10) {
		all += h.wait(n + 1)
	}
	return all
}

// lossless: nothing is lost on the way.
func (h *course) lossless() bool { return h.loss == 0 && h.lo == 0 && h.cut == 0 }

// smooth: nothing is lost on the way, and everybody is there.
func (w *world) smooth() bool {
	h := &w.h
	return h.lossless() && h.kills == 0 && !h.storm && h.hang == 0 && h.delay < 2000
}

// inOrder: the network keeps the order, and every packet meets the translator.
func (w *world) inOrder() bool {
	return w.calm() && w.h.late == 0 && w.h.dup == 0 && w.losses == 0
}

// fast: the peer answers before xl2tpd sends a second copy but one.
func (h *course) fast() bool { return h.delay < 500 && h.peer.ackDelay < 1000 }

// unknowable: a Hello is pending. A guard that has been restarted may not know of one to a peer that counts Hellos:
// then all goes on unchanged, as without it.
func (w *world) unknowable() bool {
	return w.last != nil && (w.last.out.hello.inFlight() || w.anew > 0 && slices.ContainsFunc(w.xOut, (*endpointMessage).isHello))
}

// answersLate: the answer to the last copy of a Hello may come after the next Hello, which has to be held back then.
func (h *course) answersLate() bool { return 31_000+2*h.delay >= h.helloEvery }

// answerComes: the peer may still say whether it has counted the Hello in flight.
func (w *world) answerComes() bool {
	return w.unknowable() && w.time().Sub(w.last.out.hello.last) < answered+2*time.Duration(w.h.delay)*time.Millisecond
}

// gaveUp: one of the ends has closed the tunnel since the other did not answer. After the end nobody answers the peer.
func (w *world) gaveUp() bool { return w.xWhy != theEnd && (w.xClosed || w.pClosed) }

const (
	theEnd     = "the end"
	traceLines = 100
)

func (w *world) forgery() {
	if w.guard == nil || !w.guard.out.next.known || !w.guard.in.expects.known {
		return
	}
	m := l2tp.Message{Tunnel: xID, Ns: w.xr, Nr: w.pr, Type: l2tp.TypeHello}
	src, dst := peerAddr, hostAddr
	flip := -1
	switch w.forged.IntN(5) {
	case 0:
		m.Tunnel++
	case 1:
		src = netip.AddrPortFrom(src.Addr(), 1702)
	case 2:
		m.Ns += 2000 + uint16(w.forged.IntN(60000))
	case 3:
		m.Nr += 30000
	case 4:
		flip = 28 + w.forged.IntN(l2tp.HelloLen)
	}
	b := l2tp.AppendPacket(nil, src, dst, m)
	if flip >= 0 {
		b[flip] ^= 1 << w.forged.IntN(8)
	}
	was, _ := json.Marshal(w.guard)
	waiting := w.guard.in.unacked.known
	if p, err := l2tp.ParsePacket(b); err == nil {
		w.guard.In(&p, w.time())
	}
	is, _ := json.Marshal(w.guard)
	if string(was) != string(is) || waiting != w.guard.in.unacked.known {
		w.fail("a forged packet changed\n%s to\n%s", was, is)
	}
}

func (w *world) run() {
	h := &w.h
	w.rnd, w.forged = rand.New(rand.NewPCG(h.seed, 1)), rand.New(rand.NewPCG(h.seed, 2))
	w.xs, w.pr, w.cLrMod, w.cLr = h.xStart, h.xStart, h.xStart, int(h.xStart)
	w.ps, w.xr, w.pAcked = h.pStart, h.pStart, h.pStart
	w.xTookNs, w.pTookNs, w.pEarly = map[uint16]bool{}, map[uint16]bool{}, map[uint16][]byte{}

	w.after(h.firstUp, func() {
		w.guardUp()
		if h.firstUp == 0 && !w.twin {
			w.setUp()
		}
	})
	for range h.kills {
		w.kill(w.rnd.Int64N(h.length), w.rnd.Int64N(cmp.Or(h.gone, 3000)))
	}
	if h.storm {
		for at := h.firstUp + 7000; at < h.length; at += 7000 {
			w.kill(at, 100+w.rnd.Int64N(900))
		}
	}
	var hello func()
	hello = func() {
		if w.xHung() {
			w.after(w.h.hang+8002-w.now, hello)
			return
		}
		if !w.xClosed && w.xAlive() {
			w.xSend(l2tp.TypeHello, 0)
			w.after(h.helloEvery, hello)
		}
	}
	first := w.rnd.Int64N(h.helloEvery)
	w.after(first, hello)
	if h.peer.keepalive > 0 {
		var alive func()
		alive = func() {
			if !w.pClosed && (h.unplug == 0 || w.now < h.unplug) {
				w.pSend(l2tp.TypeHello, 0)
				w.after(h.peer.keepalive, alive)
			}
		}
		at := w.rnd.Int64N(h.peer.keepalive)
		if h.cross {
			at = max(0, first-25+w.rnd.Int64N(75)) % h.peer.keepalive
		}
		w.after(at, alive)
	}
	for i := range h.messages {
		serial := uint16(i + 1)
		fromX := w.rnd.IntN(2) == 0
		at := w.rnd.Int64N(h.length)
		var send func()
		send = func() {
			switch {
			case fromX && w.xHung():
				w.after(w.h.hang+8003-w.now, send)
			case fromX && !w.xClosed && w.xAlive():
				w.xSent = append(w.xSent, serial)
				w.xSend(typeOther, serial)
			case !fromX && !w.pClosed && !w.xClosed:
				w.pSent = append(w.pSent, serial)
				w.pSend(typeOther, serial)
			}
		}
		w.after(at, send)
	}
	if h.forge {
		for range 5 {
			w.after(w.rnd.Int64N(h.length), w.forgery)
		}
	}
	for range h.asks {
		w.after(w.rnd.Int64N(h.length), func() {
			if w.guard != nil {
				w.obey(w.guard.Ask(w.time(), w.liveness()), nil, ToPeer)
			}
		})
	}
	if h.acksStops && h.crash != 0 {
		wedged := false // before the guard closes it: such a peer takes no message any more
		w.after(h.crash+2999, func() { wedged = w.pWedged })
		for _, d := range []millis{3000, 4000, 6000, 10000} {
			w.after(h.crash+d, func() {
				if w.guard != nil && !w.pClosed {
					v := w.guard.Close()
					w.closes = w.closes || v.Reason != Nothing
					w.obey(v, nil, ToPeer)
				}
			})
		}
		w.after(h.crash+10_000+h.delay+latest+100, func() { // the last one has arrived
			if w.smooth() && w.closes && h.unplug == 0 && !w.pGotStop && !w.pClosed && !wedged {
				w.fail("closed for an xl2tpd that has ended, and the peer has seen no StopCCN")
			}
		})
	}
	if h.hang != 0 {
		w.after(h.hang+8000-w.now, func() {
			for _, b := range w.xInbox {
				w.xReceive(b)
			}
			w.xInbox = nil
		})
	}
	w.until(h.length)
	if !w.twin {
		w.check()
	}
}

// setUp shows the translator the end of the tunnel's set-up, a minute ago. xl2tpd sends no ZLB in it.
func (w *world) setUp() {
	was := w.time().Add(-time.Minute)
	w.guard = New(control, was)
	w.guard.Out(parsed(packet(true, l2tp.TypeSCCCN, 0, w.h.xStart-1, w.h.pStart)), was, Liveness{})
	was = was.Add(time.Duration(40+2*w.h.delay) * time.Millisecond)
	w.guard.In(parsed(packet(false, l2tp.TypeNone, 0, w.h.pStart, w.h.xStart)), was)
	w.last = w.guard
	s := *w.guard
	w.snapshot = &s
}

func (w *world) until(end millis) {
	for w.fault == "" && len(w.events) > 0 && w.events[0].at <= end {
		e := w.next()
		w.now = e.at
		e.do()
	}
	w.now = end
}

// check looks at the end of the history and, if it was a calm one, takes the
// tunnel down.
func (w *world) check() {
	h := &w.h
	if w.fault != "" {
		return
	}
	if h.unplug != 0 && h.crash == 0 && h.hang == 0 && !w.xClosed && !h.raised() {
		if limit := h.unplug + 12000 + h.delay + h.helloEvery + 31000 + 1000; w.now > limit {
			w.fail("the peer died at %d ms and xl2tpd has not noticed", h.unplug)
		}
	}
	if w.smooth() && w.acked && !w.xStopped && w.xAlive() {
		w.fail("StopCCN was acknowledged for a dead peer, and xl2tpd still holds on to the tunnel")
	}
	if !w.calm() {
		return
	}
	if !w.gaveUp() && h.passFirst && h.peer.kind == answers && h.peer.deafFor == 0 && !h.peer.noDuplicates && w.losses == 0 && w.last != nil && w.last.Offset() != 0 && !w.answerComes() && !h.answersLate() {
		w.fail("offset %d with a peer that answers", w.last.Offset())
	}
	if w.excused || w.tooLate || !h.fast() {
		return
	}
	if w.gaveUp() {
		if !h.peer.saysOnce() || !h.without() {
			w.fail("gave up: xl2tpd %v (%s), peer %v", w.xClosed, w.xWhy, w.pClosed)
		}
		return
	}
	if w.unknowable() || w.last.out.next.number != w.xs { // or the latest Hello went past a guard that was down
		return
	}
	for _, m := range w.xOut {
		if m.typ != l2tp.TypeHello {
			return // call.c call_close() would forget it and leave a gap
		}
	}
	w.xClose(theEnd)
	w.until(w.now + 40000)
	if w.fault != "" {
		return
	}
	if !w.pGotStop || !w.xStopped && !h.peer.saysOnce() {
		w.fail("StopCCN: arrived %v, acknowledged %v", w.pGotStop, w.xStopped)
	}
}

// without plays the same history without the guard, and reports whether an end gave up.
func (h course) without() bool {
	w := world{h: h, twin: true}
	w.run()
	return w.gaveUp()
}

// latest is how much later than others a packet arrives at most, see travel.
const latest = 1900

// comparable: luck plays no part. A guard that is down loses packets of a tunnel whose ends
// count differently, which a peer has to send again in time. If packets come late and a message is due every
// 3 s, all that follow a lost one have to be sent again, see calm.
func (h *course) comparable() bool {
	jam := h.late > 0 && h.peer.keepalive == 3000
	return h.lossless() && h.helloEvery == 60_000 && !h.storm && h.crash == 0 && !(h.late > 0 && h.lucky()) &&
		(h.kills == 0 || h.kills <= 5 && h.gone == 0 && h.fast() && !jam && h.patience() >= roundTrip.Milliseconds())
}

// lucky: where packets come late, it is luck whether an end gives up. The way there and back and what
// is late may take longer than a sender waits. Or the peer answers no copy of a Hello that crosses its
// own message (saysOnce), unless the acknowledgement of that message overtakes the Hello.
func (h *course) lucky() bool {
	p := &h.peer
	patience := min(roundTrip.Milliseconds(), h.patience(), p.patience(typeOther))
	if p.keepalive > 0 {
		patience = min(patience, p.patience(l2tp.TypeHello))
	}
	return p.wedges || p.saysOnce() || 2*(h.delay+latest) > patience
}

// play plays a history, and once more without the guard: see invariant 11.
func (h course) play() (fault string) {
	w := world{h: h}
	w.run()
	if w.fault == "" && w.gaveUp() && !w.excused && h.comparable() && !h.without() {
		w.fail("gave up: xl2tpd %v (%s), peer %v (%s); without the guard nobody does", w.xClosed, w.xWhy, w.pClosed, w.pWhy)
	}
	if w.fault == "" {
		return ""
	}
	again := world{h: h, tracing: true}
	again.run()
	return fmt.Sprintf("%s\n%+v\n%s", w.fault, h, strings.Join(again.trace[max(0, len(again.trace)-traceLines):], "\n"))
}

// drawPeer draws a peer. With a chance of 1 in odd it answers no duplicate, and with the same chance no Hello while its
// own message is unanswered.
func drawPeer(t *rapid.T, h *course, odd int) {
	names := slices.Sorted(maps.Keys(implementations))
	if i := rapid.IntRange(0, 2*len(names)-1).Draw(t, "implementation"); i < len(names) {
		h.name = names[i]
		h.peer = implementations[h.name]
		return
	}
	h.peer = peer{
		kind:      rapid.IntRange(0, kinds-1).Draw(t, "kind"),
		strict:    rapid.Bool().Draw(t, "strict"),
		keepalive: rapid.SampledFrom([]millis{0, 3000, 10000, 60000}).Draw(t, "keepalive"),
		lazy:      rapid.Bool().Draw(t, "lazy"),
		oldNr:     rapid.Bool().Draw(t, "oldNr"),
		acksEarly: rapid.Bool().Draw(t, "acksEarly"),
		window:    rapid.SampledFrom([]int{1, 4, 16}).Draw(t, "window"),
		ackDelay:  rapid.SampledFrom([]millis{0, 0, 100, 2000}).Draw(t, "ackDelay"),
		tries:     5,
	}
	p := &h.peer
	if p.kind == answers {
		p.oddZLB = rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3}).Draw(t, "oddZLB")
		p.queues = rapid.Bool().Draw(t, "queues")
		p.deafFor = rapid.SampledFrom([]millis{0, 0, 0, 90_000}).Draw(t, "deafFor")
	}
	if p.lazy {
		p.oldNr = false // which the model leaves out
	}
	if p.oddZLB == 0 {
		p.noDuplicates = rapid.IntRange(1, odd).Draw(t, "noDuplicates") == 1
		p.piggyback = p.kind == answers && rapid.IntRange(1, odd).Draw(t, "piggyback") == 1
	}
}

func drawCourse(t *rapid.T) course {
	chance := func(name string, values ...float64) float64 { return rapid.SampledFrom(values).Draw(t, name) }
	h := course{
		helloEvery: rapid.SampledFrom([]millis{60000, 60000, 9000}).Draw(t, "helloEvery"),
		maxRetries: []int{100, 5, 5, 5, 5, 5, 5, 5}[rapid.IntRange(0, 7).Draw(t, "maxRetries")],
		wrapSafe:   rapid.Bool().Draw(t, "wrapSafe"),
		loss:       chance("loss", 0, 0, 0.05, 0.2, 0.5),
		dup:        chance("dup", 0, 0.1),
		late:       chance("late", 0, 0.2),
		lo:         chance("lo", 0, 0, 0.1),
		delay:      rapid.SampledFrom([]millis{0, 0, 0, 480, 1500, 3000, 6000, 10000, 14500}).Draw(t, "delay"),
		fresh:      rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "fresh"),
		kills:      rapid.SampledFrom([]int{0, 0, 1, 5, 20}).Draw(t, "kills"),
		firstUp:    rapid.SampledFrom([]millis{0, 0, 5000, 61000}).Draw(t, "firstUp"),
		length:     rapid.Int64Range(100_000, 400_000).Draw(t, "length"),
		messages:   rapid.IntRange(0, 8).Draw(t, "messages"),
		forge:      rapid.IntRange(0, 7).Draw(t, "forge") == 0,
		passFirst:  rapid.Bool().Draw(t, "passFirst"),
		storm:      rapid.IntRange(0, 5).Draw(t, "storm") == 0,
		cross:      rapid.Bool().Draw(t, "cross"),
		asks:       rapid.SampledFrom([]int{0, 0, 3}).Draw(t, "asks"),
		acksStops:  rapid.Bool().Draw(t, "acksStops"),
		pStart:     uint16(65536 - rapid.IntRange(-3, 30).Draw(t, "pStart")),
		seed:       rapid.Uint64().Draw(t, "seed"),
	}
	odd := 10
	lossless := rapid.IntRange(0, 3).Draw(t, "lossless") == 0 // most invariants hold where nothing is lost
	if lossless {
		h.helloEvery, h.loss, h.lo, h.kills = 60_000, 0, 0, min(h.kills, 5)
		odd = 4
	}
	if h.helloEvery != 60_000 {
		h.delay = 0 // xl2tpd never has two Hellos under way to a peer that answers
	}
	drawPeer(t, &h, odd)
	if h.wrapSafe {
		h.xStart = uint16(65536 - rapid.IntRange(-3, 20).Draw(t, "xStart"))
	} else {
		h.xStart = uint16(rapid.IntRange(3, 30000).Draw(t, "xStart"))
	}
	at := func(name string) millis {
		if rapid.IntRange(0, 9).Draw(t, name) != 0 {
			return 0
		}
		return rapid.Int64Range(1000, h.length).Draw(t, name+" at")
	}
	h.hang, h.crash, h.unplug = at("hang"), at("crash"), at("unplug")
	if h.cut = at("cut"); lossless {
		h.cut = 0
	}
	if h.cut != 0 {
		h.cutFor = rapid.Int64Range(1000, 70_000).Draw(t, "cutFor")
	}
	h.down = rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "down")
	h.traits = true
	drawRare(t, &h)
	return h
}

// drawRare draws what few hosts have.
func drawRare(t *rapid.T, h *course) {
	p := &h.peer
	switch rapid.IntRange(0, 20).Draw(t, "rare") {
	case 20:
		h.maxRetries = rapid.SampledFrom([]int{1, 3, 7}).Draw(t, "otherRetries")
	case 19:
		h.capBackoff = rapid.SampledFrom([]millis{2000, 8000}).Draw(t, "capBackoff")
	case 18:
		h.letGo = rapid.Int64Range(1000, h.length).Draw(t, "letGo")
	case 17:
		h.ownerless = true
	case 16:
		h.unread = true
	case 15:
		h.gone = 40_000
	case 14:
		p.tries = rapid.SampledFrom([]int{3, 9}).Draw(t, "tries")
		p.pause = rapid.SampledFrom([]millis{0, 2000, 10_000}).Draw(t, "pause")
		p.most = rapid.SampledFrom([]millis{0, 4000}).Draw(t, "most")
	case 13:
		p.wedges = h.name == "" && p.kind == answers && p.deafFor == 0 // as kl2tpd
	case 12:
		if h.name == "" && p.kind == answers {
			p.follows, p.strict = true, false // as lwIP
		}
	case 11:
		if p.wedges {
			return
		}
		p.deafFor = rapid.SampledFrom([]millis{10_000, 200_000}).Draw(t, "deafFor")
	}
}

// TestMain plays more histories than rapid's usual 100 checks: some seconds'
// worth, and always the same. -rapid.checks=1000000 plays a million others.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		for name, value := range map[string]string{"rapid.checks": "5000", "rapid.seed": "1"} {
			if err := flag.Set(name, value); err != nil {
				panic(err)
			}
		}
	}
	os.Exit(m.Run())
}

func TestHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawCourse(t)
		if fault := h.play(); fault != "" {
			t.Fatal(fault)
		}
	})
}

// Histories that went wrong once, each with what it showed.
func TestFoundHistories(t *testing.T) {
	// It says what it has counted only in new messages, and has none before its Hello is acknowledged.
	silent := peer{kind: countsHello, strict: true, noDuplicates: true, oldNr: true, window: 1, tries: 5, keepalive: 10_000}
	often := silent
	often.keepalive = 3000
	lazy := silent
	lazy.oldNr, lazy.lazy, lazy.keepalive = false, true, 60_000
	// They answer nothing while a message of theirs is out.
	busy := peer{kind: answers, strict: true, piggyback: true, window: 1, tries: 5, lazy: true, keepalive: 60_000}
	between := peer{kind: answers, strict: true, noDuplicates: true, piggyback: true, window: 1, tries: 5, keepalive: 10_000}
	waiting := peer{kind: answers, noDuplicates: true, piggyback: true, window: 1, tries: 5, keepalive: 3000}
	slow := peer{kind: answers, deafFor: 90_000, strict: true, piggyback: true, window: 1, tries: 5, lazy: true, keepalive: 10_000}
	turning := peer{kind: answers, deafFor: 90_000, strict: true, noDuplicates: true, piggyback: true, window: 16, tries: 5, lazy: true, keepalive: 3000}
	deafAtFirst := implementations["SoftEther"]
	deafAtFirst.deafFor = 10_000
	for name, h := range map[string]course{
		// Each life of the guard took the repeated Hello for the first repeat, and acknowledged it under
		// the number that the peer did not expect. The peer gave up.
		"ZLBs under one number in every life": {
			peer: silent, helloEvery: 60_000, xStart: 3, length: 100_000, passFirst: true, storm: true, cross: true,
		},
		// The ZLBs waited until the guard was killed, and the next life's only one had the wrong number.
		// The peer said nothing new, and xl2tpd gave up.
		"ZLBs that waited in an earlier life": {
			seed: 1, peer: often, helloEvery: 60_000, xStart: 3, length: 100_000, fresh: 1, kills: 5, cross: true,
		},
		// xl2tpd does not answer a duplicate from before the wrap. The ZLB of the first one waited
		// without an end since nothing else showed that the tunnel lived.
		"ZLB that waited without a sign of life": {
			seed: 1, peer: silent, helloEvery: 60_000, xStart: 3, pStart: 65_530, length: 100_000, fresh: 1, kills: 1, cross: true,
		},
		// The same, but that the only ZLB had the wrong number, and the peer did not ask for another.
		"one ZLB to a lazy peer": {
			seed: 3, peer: lazy, helloEvery: 60_000, xStart: 3, length: 100_000, fresh: 1, messages: 3, cross: true,
		},
		"one ZLB to a peer that answers": {
			seed: 2, peer: busy, helloEvery: 60_000, xStart: 3, length: 100_000, passFirst: true, cross: true,
		},
		// The ZLB was held back when the guard was killed.
		"no ZLB to a lazy peer": {
			peer: busy, helloEvery: 60_000, xStart: 3, length: 100_000, fresh: 1, kills: 5, cross: true,
		},
		// Exception 10: the line went just after the peer's message had met a guard that was down,
		// or while the ZLB was held back.
		"cut off behind a lost message": {
			seed: 4, peer: waiting, helloEvery: 60_000, xStart: 3, length: 101_141, kills: 5, unplug: 66_887,
		},
		"cut off behind a lost answer": {
			peer: implementations["Apple"], helloEvery: 60_000, xStart: 3, length: 100_000, kills: 5, unplug: 35_549, forge: true, passFirst: true,
		},
		"cut off before the ZLB": {
			seed: 1509, peer: implementations["accel-ppp"], helloEvery: 60_000, xStart: 3, length: 100_000, delay: 480, fresh: 1, unplug: 16_711, cross: true,
		},
		// The guard's Hello carried a newer Nr than xl2tpd's. So the peer's next message left before
		// the Hello was counted, and only its copies acknowledged the Hello.
		"acknowledged by an old message": {
			seed: 7, peer: between, helloEvery: 60_000, xStart: 3, length: 100_000, delay: 10_000, late: 0.2, passFirst: true, cross: true,
		},
		// The same. No copy of the peer's next message came in time.
		"acknowledged by an old message to a peer with one message under way": {
			seed: 3068, peer: peer{kind: countsHello, noDuplicates: true, window: 1, tries: 5, lazy: true, keepalive: 10_000}, helloEvery: 60_000, xStart: 3, length: 100_000, delay: 10_000, late: 0.2, fresh: 1,
		},
		"acknowledged by an old message to a peer with several under way": {
			seed: 913, peer: peer{kind: countsHello, strict: true, noDuplicates: true, oldNr: true, window: 4, tries: 5, keepalive: 3000}, helloEvery: 60_000, xStart: 3, length: 100_000, delay: 10_000, late: 0.2, fresh: 1,
		},
		// The same, behind a Hello that the peer did not get: the two ends count differently.
		"an answer that is not repeated, lost under the other number": {
			peer: peer{kind: dropsHello, noDuplicates: true, window: 1, tries: 5, ackDelay: 100}, helloEvery: 60_000, xStart: 3, length: 100_000, kills: 5, messages: 1, forge: true,
		},
		"the only word on a Hello, lost": {
			seed: 943070149, peer: peer{kind: countsHello, noDuplicates: true, window: 1, tries: 5, lazy: true, keepalive: 60_000}, helloEvery: 60_000, xStart: 3, length: 100_000, fresh: 1, kills: 1, forge: true,
		},
		"an answer under way at the end": {
			seed: 7, peer: peer{kind: answers, piggyback: true, oldNr: true, window: 1, tries: 5, keepalive: 60_000}, helloEvery: 60_000, xStart: 3, length: 100_000, delay: 14_500, passFirst: true,
		},
		"a Hello of a lazy peer, lost": {
			peer: peer{kind: answers, noDuplicates: true, piggyback: true, window: 1, tries: 5, lazy: true, keepalive: 60_000}, helloEvery: 60_000, xStart: 3, length: 100_000, delay: 480, kills: 5, messages: 3, forge: true, cross: true,
		},
		"a message that came late on the longest way": {
			seed: 10, peer: implementations["Apple"], helloEvery: 60_000, xStart: 3, length: 100_330, late: 0.2, delay: 14_500, messages: 5, forge: true,
		},
		"a peer that waits less than the longest way": {
			seed: 71, peer: peer{kind: answers, window: 4, tries: 5, lazy: true, keepalive: 3000}, helloEvery: 60_000, xStart: 3, length: 160_000, delay: 6000, late: 0.2, fresh: 1, messages: 1,
		},
		"an answer by luck to a Hello that crossed": {
			seed: 7, peer: peer{kind: answers, noDuplicates: true, piggyback: true, window: 1, tries: 5, lazy: true, keepalive: 60_000}, helloEvery: 60_000, xStart: 3, length: 100_000, late: 0.2, fresh: 1, cross: true,
		},
		// The peer's first word came just after a question, and 91 ms before xl2tpd gave up.
		"no answer before the next question": {
			seed: 23, peer: implementations["mute NVR510"], helloEvery: 60_000, xStart: 3, length: 100_000, firstUp: 5000, messages: 3, forge: true, storm: true,
		},
		// The restarted guard did not know when the Hello had left first. It asked before xl2tpd's last copies,
		// and then kept those back. lwIP answers a question as if it had never got the Hello.
		"questions instead of the copies": {
			seed: 198_273, peer: implementations["lwIP"], helloEvery: 60_000, xStart: 3, length: 100_000, fresh: 1, kills: 1, asks: 3,
		},
		// It acknowledged Hellos with its next message alone, so it seemed to be slow. Then it turned deaf.
		"ZLBs under one number to a peer that seems slow": {
			seed: 81, peer: slow, helloEvery: 60_000, xStart: 3, length: 160_000, messages: 1, passFirst: true,
		},
		// The peer answered while the guard was down. The guard held back the next Hello, and the peer said nothing any more.
		"an answer that has gone past": {
			seed: 973, peer: peer{kind: answers, noDuplicates: true, window: 1, tries: 5}, helloEvery: 60_000, xStart: 3, length: 160_000, delay: 480, fresh: 1, kills: 1,
		},
		// It turned deaf, and a Hello was acknowledged for it. A restarted guard did not know that the next Hello
		// could not have gone past, and passed a copy on.
		"a Hello passed on behind one that was not counted": {
			seed: 18, peer: peer{kind: answers, deafFor: 90_000, noDuplicates: true, window: 1, tries: 5, keepalive: 60_000}, helloEvery: 60_000, xStart: 3, length: 252_998, kills: 5, messages: 1, passFirst: true, cross: true,
		},
		// The guard was killed just after a message of the peer had reached xl2tpd. It acknowledged the Hello
		// under the number before.
		"ZLBs under the number of a stored state": {
			seed: 11187750315315826750, peer: peer{kind: answers, window: 1, tries: 5, most: 8000, keepalive: 60_000}, helloEvery: 60_000, xStart: 3, length: 393_582, late: 0.2, kills: 5, messages: 1, cross: true,
		},
		// The peer's answer came after the next Hello.
		"a Hello held back before a late answer": {
			seed: 88, peer: peer{kind: answers, piggyback: true, oldNr: true, window: 4, tries: 5, keepalive: 60_000}, helloEvery: 60_000, xStart: 3, length: 100_000, delay: 14_500, kills: 5, messages: 1, forge: true, passFirst: true, cross: true,
		},
		// The guard heard the peer first just before it sent the last StopCCN, which came late.
		"a StopCCN under way": {
			seed: 8508735438, name: "NVR500", peer: implementations["NVR500"], helloEvery: 60_000, xStart: 3, length: 100_516, delay: 480, late: 0.2, firstUp: 61_000, messages: 2, crash: 63_285, acksStops: true,
		},
		// xl2tpd's `max retries` was raised. A Hello from before the guard came again after 32 s, and the guard had
		// asked under its number.
		"a question under the number of an older Hello": {
			seed: 4, peer: peer{kind: dropsHello, noDuplicates: true, window: 1, tries: 5}, helloEvery: 60_000, maxRetries: 100, xStart: 3, length: 135_730, kills: 1, firstUp: 5000, forge: true,
		},
		// The peer answers no duplicate, and nothing while its own message is out. The StopCCN crossed its Hello, which did
		// not tell the number either: the peer repeats it unchanged. Without the guard it is the same.
		"a StopCCN that crossed": {
			seed: 12, peer: peer{kind: answers, noDuplicates: true, piggyback: true, oldNr: true, window: 1, tries: 5, keepalive: 60_000}, helloEvery: 60_000, xStart: 3, length: 100_000, late: 0.2, forge: true,
		},
		// The peer acknowledged what had gone past before the guard came. A restarted guard no longer knew of that, and gave
		// a StopCCN the number of a message that had arrived.
		"an acknowledgement of what was not seen": {
			seed: 2181607223025, name: "Apple", peer: implementations["Apple"], helloEvery: 60_000, xStart: 3, kills: 20, firstUp: 5000, length: 100_000, messages: 3, cut: 1000, cutFor: 2378, forge: true,
		},
		// Its answers came late, so it seemed to be slow, and xl2tpd's ZLBs had one number alone.
		"ZLBs under one number to a peer that answers late": {
			seed: 603, peer: peer{kind: dropsHello, strict: true, noDuplicates: true, window: 1, tries: 5}, helloEvery: 60_000, maxRetries: 100, xStart: 3, length: 100_000, late: 0.2, delay: 480, messages: 5, forge: true, passFirst: true,
		},
		// Four copies of a message met a guard that was down, and those behind it had to be sent again.
		"messages every 3 s behind a lost one": {
			seed: 6614, peer: peer{kind: dropsHello, noDuplicates: true, window: 16, tries: 5, keepalive: 3000}, helloEvery: 60_000, maxRetries: 100, xStart: 3, length: 104_096, late: 0.2, delay: 480, kills: 5, messages: 8, forge: true, cross: true,
		},
		// The history without the guard was not played beyond its end, where the peer's next Hello was due.
		"a Hello of the peer behind the end": {
			seed: 32, name: "rp-l2tp", peer: implementations["rp-l2tp"], helloEvery: 60_000, maxRetries: 100, xStart: 3, pStart: 65_533, length: 100_001, late: 0.2, messages: 1, forge: true,
		},
		// The line went between xl2tpd's third copy and the fourth, which was due after 7 s and came a little late.
		"cut off before a late copy": {
			seed: 8, name: "Apple", peer: implementations["Apple"], helloEvery: 60_000, xStart: 3, length: 100_000, late: 0.2, kills: 5, unplug: 64_650, forge: true,
		},
		// A restarted guard had seen a message behind the Hello in flight alone, and took that for the oldest: it asked under
		// the Hello's own number.
		"a question under the number of the Hello in flight": {
			seed: 68429570051500, name: "Apple", peer: implementations["Apple"], helloEvery: 60_000, xStart: 3, kills: 5, firstUp: 5000, length: 100_000, messages: 1, hang: 88_625, forge: true,
		},
		// Its only message crossed xl2tpd's. It acknowledges nothing without a new message, here and without the guard.
		"a message that crossed": {
			seed: 751, peer: peer{kind: answers, noDuplicates: true, piggyback: true, window: 1, tries: 5}, helloEvery: 60_000, xStart: 3, length: 102_128, delay: 480, kills: 5, messages: 7, forge: true,
		},
		// A Hello and a message behind it had gone past. A restarted guard saw the message first. It gave the message the Hello's
		// number as well, and the peer had kept the first copy.
		"a message seen before the Hello ahead of it": {
			seed: 1, name: "SoftEther", peer: implementations["SoftEther"], helloEvery: 9000, maxRetries: 100, xStart: 3, kills: 20, loss: 0.5, length: 100_000, messages: 2, hang: 1042, forge: true, storm: true, cross: true,
		},
		// It sends a message three times in 6 s. The ZLB was held back for as long.
		"a ZLB to a peer that gives up soon": {
			peer: peer{kind: dropsHello, noDuplicates: true, window: 1, tries: 3, pause: 2000, keepalive: 3000}, helloEvery: 60_000, maxRetries: 100, xStart: 3, length: 100_000, late: 0.2, forge: true, passFirst: true,
		},
		// It had counted a Hello before, so the next one's number was not kept over a restart. It had turned deaf.
		"a Hello of which a restarted guard does not know": {
			seed: 25, name: "Apple", peer: implementations["Apple"], helloEvery: 60_000, xStart: 3, length: 122_477, kills: 5, traits: true, messages: 6, forge: true, passFirst: true,
		},
		// The guard did not know which xl2tpd the tunnel was of. It held a ZLB back, and never sent it.
		"no ZLB for an unknown xl2tpd": {
			seed: 1331, peer: peer{kind: countsHello, noDuplicates: true, window: 1, tries: 5, lazy: true, keepalive: 60_000}, helloEvery: 60_000, xStart: 3, length: 100_000, fresh: 1, traits: true, messages: 1, ownerless: true, forge: true, cross: true,
		},
		// With `cap backoff` xl2tpd sends many copies of its Hello. A ZLB behind them was held back until xl2tpd gave up.
		"a ZLB behind many copies": {
			seed: 1, peer: peer{kind: answers, piggyback: true, window: 1, tries: 5, lazy: true, keepalive: 10_000}, helloEvery: 60_000, capBackoff: 2000, xStart: 3, length: 100_000, delay: 480, traits: true, forge: true, passFirst: true, cross: true,
		},
		// Copies of a Hello had gone past for half a minute. The guard took the last one for a new Hello, and held it back.
		"a Hello held back whose first copies have gone past": {
			seed: 1532099294004, peer: peer{kind: answers, piggyback: true, window: 1, tries: 5}, helloEvery: 9000, maxRetries: 100, xStart: 3, length: 100_000, loss: 0.5, kills: 5, down: flushed, gone: 40_000, traits: true, forge: true,
		},
		// The same. One copy had gone past, and no number was missing.
		"a Hello held back whose first copy has gone past": {
			seed: 1210690, name: "accel-ppp", peer: implementations["accel-ppp"], helloEvery: 60_000, maxRetries: 100, xStart: 3, length: 307_186, delay: 6000, fresh: 2, kills: 20, down: flushed, gone: 40_000, traits: true, forge: true,
		},
		// The guard was down for the fourth copy of the Hello, asked before the fifth, and kept that back. It would have been the first
		// copy that the peer took.
		"a copy behind a question": {
			seed: 168_550, name: "SoftEther", peer: deafAtFirst, helloEvery: 60_000, xStart: 3, length: 100_000, fresh: 1, kills: 5, traits: true, firstUp: 61_000, hang: 54_377, forge: true,
		},
		// A Hello and a message behind it had gone past for 16 s. The guard took their next copies for the first ones, held the message
		// back, and gave it the Hello's number. The peer had kept an earlier copy.
		"a message held back that had gone past": {
			seed: 99_865, name: "Apple", peer: implementations["Apple"], helloEvery: 60_000, maxRetries: 100, xStart: 3, length: 264_127, kills: 5, gone: 40_000, traits: true, messages: 3, forge: true,
		},
		// It turned deaf. Its new messages hid that it repeated the old ones.
		"ZLBs to a peer with several messages under way": {
			peer: turning, helloEvery: 60_000, xStart: 3, length: 100_000, passFirst: true,
		},
	} {
		if fault := h.play(); fault != "" {
			t.Errorf("%s: %s", name, fault)
		}
	}
}
