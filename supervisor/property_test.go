package supervisor

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/vici"
)

// world is a simulated host as the core was last told about it.
type world struct {
	b   *Core
	now time.Time

	links    []ppp.Link
	index    int // given last
	rx       map[LinkKey]uint64
	busy     map[LinkKey]bool // data comes in all the time
	settings map[string]config.Settings

	counting map[LinkKey]bool
	echoing  map[LinkKey]probe.Request
	asked    map[LinkKey]bool // had an echo since it came up, became busy, or was last not to be read
}

var lacs = []string{"a", "b", "c"}

func newWorld() *world {
	w := &world{
		b: New(config.Default(""), func() float64 { return 0.99 }), now: epoch,
		rx: map[LinkKey]uint64{}, busy: map[LinkKey]bool{}, settings: map[string]config.Settings{},
		counting: map[LinkKey]bool{}, echoing: map[LinkKey]probe.Request{}, asked: map[LinkKey]bool{},
	}
	for _, name := range lacs {
		w.settings[name] = config.Defaults()
	}
	return w
}

func opt(lac string) string { return "/etc/ppp/" + lac }

func lacOf(l ppp.Link) string { return l.OptFile[len("/etc/ppp/"):] }

func (w *world) config() *config.Config {
	c := config.Default("")
	for _, name := range lacs {
		c.Sections = append(c.Sections, config.Section{Kind: "lac", Name: name, Settings: w.settings[name]})
	}
	return c
}

func (w *world) xl2tpd() xl2tpd.Snapshot {
	c := &xl2tpd.Conf{}
	for i, name := range lacs {
		ip := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		c.Sections = append(c.Sections, xl2tpd.Section{Kind: "lac", Name: name, PPPOptFile: opt(name), LNSIPs: []netip.Addr{ip}})
	}
	return running(c, 100)
}

func (w *world) snapshot() ppp.Snapshot { return ppp.Snapshot{Links: slices.Clone(w.links)} }

// watched reports whether a link should get echo requests, and their target.
func (w *world) watched(k LinkKey) (l ppp.Link, s config.Settings, target netip.Addr, ok bool) {
	for _, l := range w.links {
		if key(l.Name, l.Index) == k {
			s := w.settings[lacOf(l)]
			target := l.Peer
			if s.Target.IsValid() {
				target = s.Target
			}
			return l, s, target, l.Up && s.Keepalive
		}
	}
	return
}

// step gives an event to the core and checks each action.
func (w *world) step(t *rapid.T, ev Event) {
	for _, a := range w.b.Step(ev, w.now) {
		switch a := a.(type) {
		case ReadCounter:
			if w.counting[a.Link] {
				t.Fatal("two readings of one counter at once")
			}
			if _, out := w.echoing[a.Link]; out {
				t.Fatal("a counter is read while an echo is out on the link")
			}
			if _, _, _, ok := w.watched(a.Link); !ok {
				t.Fatalf("%v is read although it is not to be watched", a.Link)
			}
			w.counting[a.Link] = true
		case SendEcho:
			k := key(a.Link, a.Index)
			if _, out := w.echoing[k]; out {
				t.Fatalf("two echoes at once on %v", k)
			}
			l, s, target, ok := w.watched(k)
			if !ok {
				t.Fatalf("an echo on %v, which is down or off", k)
			}
			if a.Source != l.Local || a.Target != target || a.Timeout != s.Timeout {
				t.Fatalf("%+v is not what %+v and %+v say", a, l, s)
			}
			if w.busy[k] && w.asked[k] {
				t.Fatalf("an echo on %v although data comes in all the time", k)
			}
			w.echoing[k] = a.Request
			w.asked[k] = true
		case CancelEcho:
			if _, out := w.echoing[a.Link]; !out {
				t.Fatal("an echo is cancelled that is not out")
			}
		case Note, Ready:
		}
	}
}

// check holds after every step, once the configuration is known.
func (w *world) check(t *rapid.T) {
	wake, waking := w.b.NextWake()
	total := 0
	for _, n := range w.b.tunnels.count {
		total += n
	}
	if total != len(w.b.tunnels.byKey) {
		t.Fatalf("the states add up to %d of %d tunnels", total, len(w.b.tunnels.byKey))
	}
	for k, tun := range w.b.tunnels.byKey {
		if tun.presence == gone {
			continue
		}
		_, s, _, ok := w.watched(k)
		if ok != tun.watched() {
			t.Fatalf("%v is %v, to be watched: %v", k, tun.state, ok)
		}
		if tun.state == Alive && tun.evidence.Last().IsZero() {
			t.Fatalf("%v is alive without a sign of life", k)
		}
		if !ok || w.counting[k] {
			continue
		}
		if _, out := w.echoing[k]; out {
			continue
		}
		due := tun.planned
		if latest := w.now.Add(s.Interval * 4 / 3); due.After(latest) {
			t.Fatalf("%v is due only in %v", k, due.Sub(w.now))
		}
		if !due.After(w.now) {
			t.Fatalf("%v is due and nothing is done", k)
		}
		if !waking || wake.After(due) {
			t.Fatalf("the core sleeps past the time when %v is due", k)
		}
	}
}

// Whatever happens in whatever order:
//   - never is more than one echo out on a link, or its counter read meanwhile;
//   - no echo goes to a link that is down or gone or whose section is off, and
//     each goes to the address that holds now;
//   - a link whose counter grows all the time gets no echo but the first;
//   - every watched link is due within its interval and a third, or waits for
//     an answer, and the core wakes for it;
//   - no tunnel is lost track of.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		w.step(t, w.xl2tpd())
		w.step(t, w.config())
		pick := func(t *rapid.T) int {
			if len(w.links) == 0 {
				t.Skip("no link")
			}
			return rapid.IntRange(0, len(w.links)-1).Draw(t, "link")
		}
		address := func(t *rapid.T) netip.Addr {
			return netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(1, 4).Draw(t, "address"))})
		}
		restart := func(k LinkKey) { delete(w.asked, k) }
		t.Repeat(map[string]func(*rapid.T){
			"": w.check,
			"new link": func(t *rapid.T) {
				if len(w.links) > 4 {
					t.Skip("enough")
				}
				w.index++
				w.links = append(w.links, ppp.Link{
					Name: fmt.Sprint("ppp", len(w.links)), Index: w.index,
					OptFile: opt(rapid.SampledFrom(lacs).Draw(t, "lac")), TTY: "/dev/pts/0", Xl2tpdPid: 100,
				})
				w.step(t, w.snapshot())
			},
			"up or other address": func(t *rapid.T) {
				i := pick(t)
				l := &w.links[i]
				old := l.Peer
				l.Up, l.Local, l.Peer = true, netip.AddrFrom4([4]byte{10, 0, 1, 1}), address(t)
				if l.Peer != old {
					restart(key(l.Name, l.Index))
				}
				w.step(t, w.snapshot())
			},
			"down": func(t *rapid.T) {
				l := &w.links[pick(t)]
				l.Up, l.Local, l.Peer = false, netip.Addr{}, netip.Addr{}
				restart(key(l.Name, l.Index))
				w.step(t, w.snapshot())
			},
			"gone": func(t *rapid.T) {
				i := pick(t)
				restart(key(w.links[i].Name, w.links[i].Index))
				w.links = slices.Delete(w.links, i, i+1)
				w.step(t, w.snapshot())
			},
			"the watcher sees nothing for a moment": func(t *rapid.T) { // all gone, and back as they were
				for _, l := range w.links {
					restart(key(l.Name, l.Index))
				}
				all := w.links
				w.links = nil
				w.step(t, w.snapshot())
				w.links = all
				w.step(t, w.snapshot())
			},
			"data": func(t *rapid.T) {
				l := w.links[pick(t)]
				k := key(l.Name, l.Index)
				w.busy[k] = rapid.Bool().Draw(t, "busy")
				restart(k) // the latest look may have been before
			},
			"settings": func(t *rapid.T) {
				lac := rapid.SampledFrom(lacs).Draw(t, "lac")
				s := w.settings[lac]
				old := s.Target
				s.Keepalive = rapid.Bool().Draw(t, "keepalive")
				s.Interval = time.Duration(rapid.IntRange(1, 20).Draw(t, "interval")) * time.Second
				s.Timeout = min(s.Interval, 3*time.Second)
				s.Target = netip.Addr{}
				if rapid.Bool().Draw(t, "has target") {
					s.Target = address(t)
				}
				w.settings[lac] = s
				for _, l := range w.links {
					if lacOf(l) == lac && (!s.Keepalive || s.Target != old) {
						restart(key(l.Name, l.Index))
					}
				}
				w.step(t, w.config())
			},
			"other news": func(t *rapid.T) {
				w.step(t, rapid.SampledFrom([]Event{
					w.xl2tpd(), vici.Snapshot{}, TaskFailed{WatcherVICI, lost}, TaskFailed{WatcherPPP, lost},
				}).Draw(t, "event"))
			},
			"counter": func(t *rapid.T) {
				for _, k := range sorted(w.counting) {
					delete(w.counting, k)
					if w.busy[k] {
						w.rx[k] += 2 // more than a reply
					}
					var err error
					if !w.busy[k] && rapid.Bool().Draw(t, "fails") {
						err = lost
					}
					w.step(t, Counters{{Link: k, Packets: w.rx[k], Err: err}})
					if err != nil {
						restart(k) // growth can't be told at the next reading
					}
				}
			},
			"echo": func(t *rapid.T) {
				for _, k := range sorted(w.echoing) {
					if !rapid.Bool().Draw(t, "ends") {
						continue
					}
					req := w.echoing[k]
					delete(w.echoing, k)
					var err error
					if rapid.Bool().Draw(t, "lost") {
						err = lost
					} else {
						w.rx[k]++
					}
					w.step(t, Results{{Link: req.Link, Index: req.Index, Target: req.Target, Err: err}})
				}
			},
			"time": func(t *rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(0, 12000).Draw(t, "ms")) * time.Millisecond)
				w.step(t, Tick{})
			},
		})
	})
}

func sorted[V any](m map[LinkKey]V) []LinkKey {
	var keys []LinkKey
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b LinkKey) int { return a.Index - b.Index })
	return keys
}
