package helloguard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/l2tp"
)

// Data that came in for a tunnel are evidence if its links are not certain. Of a tunnel whose
// peer's packets come through IPsec, others count for nothing.
func TestDataAreEvidence(t *testing.T) {
	const window = 39 * time.Second
	unsure := Links{Linked: true, Wanted: true, Alive: true, Window: window}
	for name, tc := range map[string]struct {
		links          Links
		secured        bool
		id             uint16
		clear, through time.Duration // how long ago data came in; 0: none did
		want           bool
	}{
		"in time":                      {unsure, false, 7, window, 0, true},
		"late":                         {unsure, false, 7, window + time.Second, 0, false},
		"another tunnel's":             {unsure, false, 8, time.Second, 0, false},
		"none":                         {unsure, false, 7, 0, 0, false},
		"through IPsec":                {unsure, true, 7, 0, time.Second, true},
		"through IPsec, late":          {unsure, true, 7, time.Second, time.Minute, false},
		"forged in the clear":          {unsure, true, 7, time.Second, 0, false},
		"of a tunnel not in IPsec":     {unsure, false, 7, 0, time.Second, true},
		"not wanted":                   {Links{Linked: true, Window: window}, false, 7, time.Second, 0, false},
		"links that are surely silent": {Links{Certain: true, Linked: true, Wanted: true, Window: window}, false, 7, time.Second, 0, false},
		"xl2tpd can't be answered":     {Links{Wanted: true, Window: -1}, false, 7, time.Second, 0, false},
	} {
		b := newFixture(t, t.TempDir())
		b.connect()
		b.now = b.now.Add(time.Hour)
		b.links = tc.links
		c := b.table.list[0]
		c.secured = tc.secured
		a := arrival{}
		if tc.clear > 0 {
			a.clear = b.now.Add(-tc.clear)
		}
		if tc.through > 0 {
			a.secured = b.now.Add(-tc.through)
		}
		b.came[address{c.path(), tc.id, false}] = a
		if live, _ := b.evidence.liveness(c, b.now); live.Peer != tc.want {
			t.Errorf("%s: alive %v", name, live.Peer)
		}
		if noted := b.noted[c.path()]; noted != (tc.links.Wanted && !tc.links.Certain) {
			t.Errorf("%s: noted %v", name, noted)
		}
	}
}

// Data are noted for as long as somebody needs them, and no longer. That begins before the first
// Hello.
func TestWhenDataAreNoted(t *testing.T) {
	at := path{here, there}
	for name, ends := range map[string]func(b *fixture){
		"its link is certain": func(b *fixture) { b.links.Certain = true },
		"it is not wanted":    func(b *fixture) { b.links.Wanted = false },
		"it closes":           func(b *fixture) { b.handle(closing(false, l2tp.TypeStopCCN, 2, 1, 1, ""), outbound, b.now) },
		"its xl2tpd ends":     func(b *fixture) { b.world.end(watched) },
	} {
		b := newFixture(t, t.TempDir())
		b.links.Certain = false
		b.connect()
		if b.noted[at] {
			t.Error("noted though the tunnel is only being set up")
		}
		if b.run(time.Second); !b.noted[at] { // connect goes by that
			t.Error("not noted before its first Hello")
		}
		ends(b)
		if b.age(1); len(b.noted) != 0 || len(b.evidence.data.wanted) != 0 {
			t.Errorf("%s: data are noted still", name)
		}
	}
}

// Two tunnels of one path are noted together, until the last one goes.
func TestTunnelsOfOnePathAreNotedTogether(t *testing.T) {
	b := newFixture(t, t.TempDir())
	at, d := path{here, there}, b.evidence.data
	for _, step := range []struct{ on, want bool }{{true, true}, {true, true}, {false, true}, {false, false}} {
		if err := d.want(at, step.on); err != nil || b.noted[at] != step.want {
			t.Errorf("%v: noted %v, %v", step, b.noted[at], err)
		}
	}
}

// What the kernel has noted is read once for many.
func TestDataAreReadOnce(t *testing.T) {
	b := newFixture(t, t.TempDir())
	b.links.Certain = false
	for i := range 100 {
		b.dial(i)
	}
	b.age(1)
	for _, c := range b.table.list {
		b.evidence.liveness(c, b.now)
	}
	if b.reads != 1 {
		t.Errorf("read %d times at one time", b.reads)
	}
	b.evidence.liveness(b.table.list[0], b.now.Add(time.Second))
	if b.reads != 2 {
		t.Errorf("read %d times", b.reads)
	}
}

// A tunnel without a packet of xl2tpd is over once its data have not come in for long. If that
// can't be read, its links have the word.
func TestSilentTunnelWithData(t *testing.T) {
	for name, tc := range map[string]struct {
		data   bool
		unread error
		linked bool
		kept   bool
	}{
		"data come in":                      {true, nil, false, true},
		"no data, a link that may be its":   {false, nil, true, false},
		"not known, a link that may be its": {false, errors.New("no such set"), true, true},
		"not known, and no link":            {false, errors.New("no such set"), false, false},
	} {
		b := newFixture(t, t.TempDir())
		b.connect()
		b.links.Certain, b.links.Linked, b.unread = false, tc.linked, tc.unread
		for range 60 {
			if tc.data {
				b.bring(7, b.now)
			}
			b.age(1)
		}
		if kept := len(b.table.list) == 1; kept != tc.kept {
			t.Errorf("%s: kept %v", name, kept)
		}
	}
}

// dataPacket is a data message of tunnel 7 with an empty PPP frame.
func dataPacket(flags uint16, id uint16) []byte {
	p := l2tp.AppendPacket(nil, there, here, l2tp.Message{Tunnel: id})
	body := p[ipHeaderLen+udpHeaderLen:]
	binary.BigEndian.PutUint16(body, flags)
	if flags&0x4000 == 0 { // no length
		copy(body[2:], body[4:])
	}
	return p
}

// The kernel notes data messages of the paths that are named, with the id where it lies.
func TestNotesData(t *testing.T) {
	r := newRules()
	for name, tc := range map[string]struct {
		ip        []byte
		ipsec     bool
		elsewhere bool
		want      string
		id        uint16
	}{
		"without a length":     {dataPacket(0x0002, 7), false, false, "cleardata", 7},
		"with a length":        {dataPacket(0x4002, 7), false, false, "cleardata", 7},
		"with all it can have": {dataPacket(0x4b02, 7), false, false, "cleardata", 7},
		"through IPsec":        {dataPacket(0x0002, 7), true, false, "secureddata", 7},
		"the same, length":     {dataPacket(0x4002, 7), true, false, "secureddata", 7},
		"another path":         {dataPacket(0x0002, 7), true, true, "", 0},
		"a control message":    {l2tp.AppendPacket(nil, there, here, l2tp.Message{Tunnel: 7}), false, false, "", 0},
		"L2TPv3":               {dataPacket(0x0003, 7), false, false, "", 0},
		"not UDP":              {func() []byte { p := dataPacket(2, 7); p[9] = unix.IPPROTO_TCP; return p }(), false, false, "", 0},
	} {
		k := holding(contents{data: []path{{here, there}}})
		if tc.elsewhere {
			k = holding(contents{data: []path{{here, peerNumber(1)}}})
		}
		k.ip, k.ipsec = tc.ip, tc.ipsec
		k.enter(t, data(noting), r.noteData())
		var got []string
		for set := range k.updated {
			got = append(got, set)
		}
		if tc.want == "" {
			if len(got) != 0 {
				t.Errorf("%s: got %v, want nothing", name, got)
			}
			continue
		}
		if !slices.Equal(got, []string{tc.want}) {
			t.Fatalf("%s: %v, want %s", name, got, tc.want)
		}
		if a, ok := parseArrival(k.updated[tc.want]); !ok || a != (address{path{here, there}, tc.id, false}) {
			t.Errorf("%s: got %+v, want the path and the id of the packet", name, a)
		}
	}
}

// enter has a packet go through the rule of a hook's chain, and through the chain it leads to.
func (k *kernel) enter(t *testing.T, hook []expr.Any, rules [][]expr.Any) {
	k.updated = map[string][]byte{}
	if !k.run(t, hook) {
		return
	}
	for _, r := range rules {
		if k.done = false; k.run(t, r) && k.done {
			return
		}
	}
}

// update takes in what a rule says of a set.
func (k *kernel) update(e *expr.Dynset) {
	k.updated[e.SetName] = bytes.Clone(k.regs[at(e.SrcRegKey):][:16])
}
