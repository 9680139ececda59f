package helloguard

import (
	"slices"
	"testing"

	"xl2tpd-keepalive/internal/l2tp"
)

// A check's packet is well formed, and nothing else is taken for one.
func TestCheckPacket(t *testing.T) {
	mine, other := newCheck(), newCheck()
	at := path{here, there}
	raw := checkPacket(at, mine)
	p, err := l2tp.ParsePacket(raw)
	if err != nil || !p.Msg.ZLB() || p.Src != there || p.Dst != here || p.Msg.Session == 0 {
		t.Fatalf("got %+v, %v, want a ZLB from the peer with a session", p, err)
	}
	withOptions := slices.Insert(slices.Clone(raw), 20, 1, 1, 1, 1)
	withOptions[0]++
	for name, c := range map[string]struct {
		raw  []byte
		want bool
	}{
		"it":              {raw, true},
		"IP options":      {withOptions, true},
		"another one's":   {checkPacket(at, other), false},
		"a ZLB":           {l2tp.AppendPacket(nil, there, here, l2tp.Message{Tunnel: checkTunnel}), false},
		"a Hello":         {l2tp.AppendPacket(nil, there, here, l2tp.Message{Type: l2tp.TypeHello, Tunnel: checkTunnel}), false},
		"cut":             {raw[:len(raw)-1], false},
		"empty":           {nil, false},
		"an empty header": {[]byte{0xf}, false},
	} {
		if got := isCheck(c.raw, mine); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// A blocked path is checked again before all others, until it is no more.
func TestBlockedPathIsCheckedFirst(t *testing.T) {
	l := newLoopbackChecks()
	a, b := path{here, there}, path{here, addr("192.0.2.7", 1701)}
	both := []path{a, b}
	if first, second := l.pick(both), l.pick(both); first == second {
		t.Errorf("%v is picked twice in a row", first)
	}
	l.results[a], l.results[b] = ErrBlockedInput, nil
	for range 3 {
		if got := l.pick(both); got != a {
			t.Errorf("%v is picked, not the one that is blocked", got)
		}
	}
	if l.answerable(a) || !l.answerable(b) || l.answerable(path{there, here}) || l.blocked() != ErrBlockedInput {
		t.Errorf("got %+v, want only the first path blocked", l)
	}
	if got := l.pick([]path{b}); got != b || l.blocked() != nil || !l.answerable(a) {
		t.Errorf("%v is picked; %+v", got, l)
	}
}
