package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

var builtIn, _ = filepath.Glob("../lns/personalities/*.json")

func drawn(t *rapid.T, name string, values ...time.Duration) l2tp.Duration {
	return l2tp.Duration(rapid.SampledFrom(values).Draw(t, name))
}

// behaviour draws one of the built-in personalities and changes some keys of it.
func behaviour(t *rapid.T) l2tp.Behaviour {
	second := time.Second
	b := load(t, rapid.SampledFrom(builtIn).Draw(t, "like"))
	b.HostName = rapid.StringMatching("[a-z]{1,9}").Draw(t, "host_name")
	b.Vendor = rapid.StringMatching("[A-Za-z ]{0,20}").Draw(t, "vendor")
	b.ReceiveWindow = uint16(rapid.IntRange(1, 16).Draw(t, "receive_window"))
	changes := []func(){
		func() {
			b.Hello = rapid.SampledFrom([]l2tp.HelloMode{l2tp.HelloAck, l2tp.HelloDeaf, l2tp.HelloCountOnly}).Draw(t, "hello")
		},
		func() {
			b.KeepaliveInterval = drawn(t, "keepalive_interval", 0, 7*second, 10*second, 45*second, 60*second)
		},
		func() { b.KeepaliveTries = rapid.IntRange(0, 6).Draw(t, "keepalive_tries") },
		func() { b.KeepaliveQuiet = rapid.Bool().Draw(t, "keepalive_quiet") },
		func() { b.Idle = drawn(t, "idle", 0, 50*second, 100*second) },
		func() { b.StrictNs = rapid.Bool().Draw(t, "strict_ns") },
		func() {
			b.Early = rapid.SampledFrom([]l2tp.EarlyMode{l2tp.EarlyDrop, l2tp.EarlyQueue, l2tp.EarlySkip, l2tp.EarlyWedge}).Draw(t, "early")
		},
		func() {
			b.AckEarly = rapid.SampledFrom([]l2tp.AckEarlyMode{l2tp.AckEarlyNone, l2tp.AckEarlyMessages, l2tp.AckEarlyAll}).Draw(t, "ack_early")
		},
		func() { b.AckDuplicates = rapid.Bool().Draw(t, "ack_duplicates") },
		func() { b.NrFollows = rapid.Bool().Draw(t, "nr_follows") },
		func() { b.AckDelay = drawn(t, "ack_delay", 0, 50*time.Millisecond, 200*time.Millisecond) },
		func() {
			if b.ZLB == l2tp.ZLBAlways { // its ZLBs show the delay
				b.AnswerDelay = drawn(t, "answer_delay", 0, 300*time.Millisecond)
			}
		},
		func() {
			if b.AnswerDelay == 0 {
				b.ZLB = rapid.SampledFrom([]l2tp.ZLBMode{l2tp.ZLBAlways, l2tp.ZLBHeld, l2tp.ZLBResend, l2tp.ZLBNever}).Draw(t, "zlb")
			}
		},
		func() {
			b.CloseOn = rapid.SampledFrom([]l2tp.CloseOnMode{l2tp.CloseOnNothing, l2tp.CloseOnUnknown, l2tp.CloseOnUnexpected}).Draw(t, "close_on")
		},
		func() { b.ZLBNsOffset = rapid.SampledFrom([]int16{0, 1, -1}).Draw(t, "zlb_ns_offset") },
		func() {
			b.RetransmitFirst = drawn(t, "retransmit_first", second/2, second, 2*second)
			b.RetransmitCap = max(b.RetransmitFirst, drawn(t, "retransmit_cap", second/2, 4*second, 8*second, 16*second))
		},
		func() { b.RetransmitTries = rapid.IntRange(1, 8).Draw(t, "retransmit_tries") },
		func() { b.RetransmitOldNr = rapid.Bool().Draw(t, "retransmit_old_nr") },
	}
	for range rapid.IntRange(0, 3).Draw(t, "changes") {
		changes[rapid.IntRange(0, len(changes)-1).Draw(t, "change")]()
	}
	return b
}

func line(t *rapid.T) script {
	s := script{length: 5 * time.Minute, delay: 4 * time.Millisecond, seed: rapid.Uint64().Draw(t, "seed"), atRouter: rapid.Bool().Draw(t, "atRouter")}
	s.pings = time.Duration(drawn(t, "pings", 0, 5*time.Second))
	s.freeze = time.Duration(drawn(t, "freeze", 0, 0, 130*time.Second))
	s.hangUp = time.Duration(drawn(t, "hangUp", 0, 200*time.Second))
	s.odd = time.Duration(drawn(t, "odd", 0, 0, 33*time.Second))
	return s
}

// TestMain plays other routers in each run: few, because each of them takes long.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "30"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// Routers of which a key was said to be seen and was another value.
func TestKeysThatWereWrong(t *testing.T) {
	usual := script{length: 5 * time.Minute, delay: 4 * time.Millisecond, pings: 5 * time.Second}
	for _, c := range []struct {
		name, like string
		change     func(b *l2tp.Behaviour, s *script)
		known      string // also: this key is
	}{
		{"two intervals within a twentieth of each other, and a close that is not the last try's", "l2tpns", func(b *l2tp.Behaviour, s *script) {
			b.KeepaliveTries, b.Idle, b.CloseOn = 6, l2tp.Duration(100*time.Second), l2tp.CloseOnUnknown
			s.freeze, s.hangUp, s.seed = 130*time.Second, 200*time.Second, 4669086472
		}, "keepalive_quiet"},
		{"a CDN that leaves late, as all does", "kl2tpd", func(b *l2tp.Behaviour, s *script) {
			b.Hello, b.AnswerDelay = l2tp.HelloDeaf, l2tp.Duration(300*time.Millisecond)
			s.freeze, s.atRouter, s.seed = 130*time.Second, true, 3
		}, "hello"},
		{"a Hello that is sent once before the client leaves", "nvr500", func(b *l2tp.Behaviour, s *script) {
			b.Early, b.KeepaliveQuiet = l2tp.EarlySkip, true
			s.hangUp, s.seed = 200*time.Second, 119132
		}, "keepalive_interval"},
		{"a close for a CDN, soon after a Hello", "nvr500", func(b *l2tp.Behaviour, s *script) {
			b.KeepaliveInterval, b.RetransmitTries = l2tp.Duration(45*time.Second), 2
			s.hangUp, s.seed = 200*time.Second, 289233
		}, "keepalive_interval"},
		{"a router that seems to be deaf from a time on", "l2tpns", func(b *l2tp.Behaviour, s *script) {
			b.HostName, b.ReceiveWindow, b.AckDuplicates = "a", 1, false
			s.pings, s.odd, s.seed = 0, 33*time.Second, 1
		}, "hello"},
		{"a Hello that came before the router's, on a busy machine", "l2tpns", func(b *l2tp.Behaviour, s *script) {
			s.freeze, s.busy = 100*time.Second, 60*time.Millisecond
		}, "retransmit_first"},
		{"a StopCCN that is sent once, and whose acknowledgement does not count", "nvr500", func(b *l2tp.Behaviour, s *script) {
			b.KeepaliveInterval, b.RetransmitTries = 0, 1
			s.pings = 0
		}, "idle"},
		{"a Hello that leaves late, as all does", "mpd", func(b *l2tp.Behaviour, s *script) {
			b.AnswerDelay, b.KeepaliveInterval, b.StrictNs = l2tp.Duration(300*time.Millisecond), l2tp.Duration(7*time.Second), false
			s.pings, s.atRouter, s.length, s.seed = 0, true, 90*time.Second, 566
		}, "keepalive_quiet"},
	} {
		b, s := load(t, "../lns/personalities/"+c.like+".json"), usual
		c.change(&b, &s)
		p := learn(t, converse(t, b, s))
		agree(t, c.name, b, p)
		if !slices.Contains(known(p), c.known) {
			t.Errorf("%s: %s is not known, only %q", c.name, c.known, known(p))
		}
	}
}

// A key that is said to be known is what the router really had. What the router is by what it says of itself is always
// known.
func TestKnownKeysAreRight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, s := behaviour(t), line(t)
		p := learn(t, converse(t, b, s))
		agree(t, fmt.Sprintf("%+v", s), b, p)
		for _, key := range []string{"host_name", "vendor", "receive_window"} {
			if !strings.Contains(" "+strings.Join(known(p), " ")+" ", " "+key+" ") {
				t.Errorf("%s is not known", key)
			}
		}
	})
}
