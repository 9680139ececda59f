package supervisor

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/supervisor/recovery/policy"
	"xl2tpd-keepalive/vici"
)

// Recovery evaluates a LAC when something happens to it, and at times that it notes. So whenever a step is due, it was
// taken, or such a time is near.
func TestForgetsNoLAC(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFleet(1)
		section := &f.xl2tpd.Home().Conf.Sections[0]
		section.Redial = rapid.Bool().Draw(t, "redial")
		section.Autodial = rapid.Bool().Draw(t, "autodial")
		b, asked := f.start()
		now := epoch
		step := func(ev Event) {
			asked = append(asked, b.Step(ev, now)...)
			l := b.lacs.ensureLAC(name{"lac", section.Name, ""})
			is, _ := b.lacs.situations.of(l, section, now)
			progress := l.progress
			next := b.lacs.agenda.evaluateAt.Next()
			if step, _ := progress.Advance(is, true, 0.5, now); step != policy.StepNone && step != policy.StepLook && (next.IsZero() || next.Sub(now) > policy.AttemptTime) {
				t.Fatalf("at %v, after %T%+v: %v is due, and recovery looks again at %v\n%+v\n%+v", now.Sub(epoch), ev, ev, step, next, is, progress)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"link": func(t *rapid.T) {
				l := f.links[0]
				switch rapid.IntRange(0, 3).Draw(t, "how") {
				case 0:
					step(ppp.Snapshot{})
					return
				case 1: // a call
					l.Up, l.Local, l.Peer = false, netip.Addr{}, netip.Addr{}
				}
				step(ppp.Snapshot{Links: []ppp.Link{l}})
			},
			"SA": func(t *rapid.T) {
				sa := f.vici.SAs[0]
				sa.UniqueID = fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "id"))
				step(vici.Snapshot{SAs: []vici.SA{sa}[:rapid.IntRange(0, 1).Draw(t, "there")]})
			},
			"xl2tpd": func(t *rapid.T) {
				s := f.xl2tpd
				s.Home().Process.Pid = rapid.IntRange(0, 2).Draw(t, "pid")
				step(s)
			},
			"ending": func(t *rapid.T) {
				step(Ending{
					OwnedConnection: f.controls[0], CloseReason: why{
						Reason: "so", Operator: rapid.Bool().Draw(t, "operator"), Unanswered: rapid.Bool().Draw(t, "unanswered"), StopAcked: rapid.Bool().Draw(t, "stopAcked"),
					},
				})
			},
			"answers": func(t *rapid.T) {
				answered := asked
				asked = nil
				failed := rapid.SampledFrom([]error{nil, lost, policy.ErrAlive, policy.ErrNoRoute, policy.ErrNoConnection}).Draw(t, "err")
				for _, a := range answered {
					switch a := a.(type) {
					case ReadCounter:
						step(Counters{{Link: a.Link}})
					case SendEcho:
						step(Results{{Link: a.Link, Index: a.Index, Err: failed}})
					case Recover:
						if failed == policy.ErrNoConnection && a.Step != policy.StepSecure && a.Step != policy.StepRenew {
							failed = lost
						}
						step(StepDone{LAC: a.LAC, Step: a.Step, Err: failed})
					}
				}
			},
			"time": func(t *rapid.T) {
				for range rapid.IntRange(1, 100).Draw(t, "seconds") {
					now = now.Add(time.Second)
					step(Tick{})
				}
			},
		})
	})
}

// A LAC that has or may have several links is well if one of them is alive, in any order. If none is, the LAC has been
// silent since the last link became silent.
func TestOneLinkIsEnough(t *testing.T) {
	f := newFleet(1)
	b := f.up()
	lives := b.tunnels.byKey[key("ppp0", 1)]
	silent := *lives
	silent.state, silent.evidence, silent.firstLostAt = Silent, Evidence{Data: epoch.Add(-time.Minute)}, epoch.Add(-time.Minute)
	longer := silent
	longer.firstLostAt = epoch.Add(-2 * time.Minute)
	l := b.lacs.ensureLAC(name{"lac", "Branch0", ""})
	for name, tc := range map[string]struct {
		candidates candidates
		quiet      time.Duration
	}{
		"lives":               {candidates{exact: []*tunnel{lives}}, 0},
		"silent first":        {candidates{exact: []*tunnel{&silent, lives}}, 0},
		"silent last":         {candidates{exact: []*tunnel{lives, &silent}}, 0},
		"perhaps its own":     {candidates{exact: []*tunnel{&silent}, ambiguous: []*[]*tunnel{{lives}}}, 0},
		"all are silent":      {candidates{exact: []*tunnel{&silent}, ambiguous: []*[]*tunnel{{&longer}}}, time.Minute},
		"the longest first":   {candidates{exact: []*tunnel{&longer, &silent}}, time.Minute},
		"perhaps not its own": {candidates{ambiguous: []*[]*tunnel{{&silent}}}, time.Minute},
	} {
		b.tunnels.index.lacs[l.key] = &tc.candidates
		is, _ := b.lacs.situations.of(l, &f.xl2tpd.Home().Conf.Sections[0], epoch)
		if !is.Up || is.Quiet != tc.quiet || tc.quiet > 0 && is.WithoutSA {
			t.Errorf("%s: got %+v, want up, quiet for %v", name, is, tc.quiet)
		}
	}
}
