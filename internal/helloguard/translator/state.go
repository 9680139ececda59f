package translator

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// stateVersion counts the meanings the stored state has had.
const stateVersion = 1

// state is what a Translator stores. Points in time are left out: a restart
// begins to watch anew.
type state struct {
	Version int `json:"version"`
	Tunnel
	Debt         uint16 `json:"debt"`
	Runs         []run  `json:"runs,omitempty"`
	HighKnown    bool   `json:"high_known"`
	High         uint16 `json:"high"`
	Synced       bool   `json:"synced"`
	AckKnown     bool   `json:"acked_known"`
	Acked        uint16 `json:"acked"`
	LimboFirst   uint16 `json:"limbo_first"`
	LimboCount   uint16 `json:"limbo_count"`
	LimboAdopted bool   `json:"limbo_adopted"`
	LimboCover   uint16 `json:"limbo_cover"`
	Closing      bool   `json:"closing"`
	ExpKnown     bool   `json:"expected_known"`
	Confirmed    uint16 `json:"confirmed"`
	Expected     uint16 `json:"expected"`
	HelloTo      uint16 `json:"hello_to"`
	Vouched      bool   `json:"vouched"`
	Told         uint16 `json:"told"`
}

// MarshalJSON gives the state to be stored whenever a Verdict says so.
func (t *Translator) MarshalJSON() ([]byte, error) {
	return json.Marshal(state{
		Version: stateVersion, Tunnel: t.tun,
		Debt: t.ledger.debt, Runs: t.ledger.runs[:t.ledger.n],
		HighKnown: t.highKnown, High: t.high, Synced: t.synced || t.sealed, AckKnown: t.ackKnown, Acked: t.acked,
		LimboFirst: t.limbo.first, LimboCount: t.limbo.count,
		LimboAdopted: t.limbo.adopted, LimboCover: t.limbo.cover,
		Closing:  t.closing,
		ExpKnown: t.expKnown, Confirmed: t.confirmed, Expected: t.expected,
		HelloTo: t.helloTo, Vouched: t.vouched, Told: t.told,
	})
}

// Restore goes on from a stored state. The state may be older than the last
// packet that was passed, but not than the last Verdict.Save.
func Restore(b []byte, timing Timing, now time.Time) (*Translator, error) {
	var s state
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("hello state: %w", err)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("hello state: version %d, want %d", s.Version, stateVersion)
	}
	if !s.Local.Addr().Is4() || !s.Peer.Addr().Is4() {
		return nil, fmt.Errorf("hello state: addresses %v, %v: want IPv4", s.Local, s.Peer)
	}
	if len(s.Runs) > maxRuns || s.LimboCount > maxLimbo ||
		s.Vouched && !l2tp.Near(s.Told, s.Confirmed, 0, maxVouched) {
		return nil, fmt.Errorf("hello state: %d runs, %d Hellos under way, %d vouched for: too many",
			len(s.Runs), s.LimboCount, s.Told-s.Confirmed)
	}
	if !s.HighKnown && (s.Debt != 0 || len(s.Runs) > 0 || s.LimboCount > 0) {
		return nil, errors.New("hello state: Hellos of a tunnel whose numbers are not known")
	}
	t := &Translator{
		tun: s.Tunnel, timing: timing, since: now,
		highKnown: s.HighKnown, high: s.High, ackKnown: s.AckKnown, acked: s.Acked,
		limbo: limbo{first: s.LimboFirst, count: s.LimboCount,
			adopted: s.LimboAdopted, cover: s.LimboCover, last: now},
		closing:  s.Closing,
		expKnown: s.ExpKnown, confirmed: s.Confirmed, expected: s.Expected,
		helloTo: s.HelloTo, vouched: s.Vouched, told: s.Told,
	}
	t.ledger.debt = s.Debt
	end := s.High - history - reach
	for _, r := range s.Runs {
		if r.Count == 0 || l2tp.Before(r.Start, end) || l2tp.Before(s.High, r.Start+r.Count) {
			return nil, fmt.Errorf("hello state: run %d+%d does not fit next number %d", r.Start, r.Count, s.High)
		}
		end = r.Start + r.Count
		t.ledger.runs[t.ledger.n] = r
		t.ledger.n++
	}
	t.unsure = t.limbo.count > 0 && !t.limbo.adopted
	t.sealed = t.Debt() > 0 || t.limbo.adopted && s.Synced
	t.ackSure = t.sealed && t.ackKnown
	return t, nil
}
