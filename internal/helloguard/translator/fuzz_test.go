package translator

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// corpus returns what fuzzing has found before, one input per line in Go's
// notation. make fuzz adds to it.
func corpus(f *testing.F, name string) [][]byte {
	b, err := os.ReadFile("testdata/" + name + ".corpus")
	if err != nil {
		f.Fatal(err)
	}
	var all [][]byte
	for line := range strings.Lines(string(b)) {
		s, err := strconv.Unquote(strings.TrimSuffix(line, "\n"))
		if err != nil {
			f.Fatalf("%s: %v: %s", name, err, line)
		}
		all = append(all, []byte(s))
	}
	return all
}

// FuzzTranslator plays a script: each five bytes are an event, its numbers near
// those expected or anywhere. Whatever happens, what comes out parses, belongs
// to the tunnel, what goes in unread comes out untouched, and the state
// survives being stored.
func FuzzTranslator(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 2, 0, 2, 0, 1})
	for _, script := range corpus(f, "translator") {
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		tr := New(Tunnel{hostAddr, peerAddr, xID, pID}, DefaultTiming(), epoch)
		now := epoch
		for ; len(script) >= 5; script = script[5:] {
			op := script[0]
			a, b := binary.BigEndian.Uint16(script[1:]), binary.BigEndian.Uint16(script[3:])
			now = now.Add(time.Duration(op>>5) * time.Second)
			life := Life{Tunnel: a&1 == 0, Daemon: b&1 == 0, Offer: a&2 == 0}
			typ := [...]l2tp.MessageType{l2tp.TypeHello, l2tp.TypeNone, typeOther, l2tp.TypeStopCCN}[op>>1&3]
			var v *Verdict
			var pkt []byte
			switch op >> 3 & 3 {
			case 0:
				pkt = packet(op&1 == 0, typ, 0, a, b)
			case 1:
				if op&1 == 0 {
					pkt = packet(true, typ, 0, tr.high+uint16(int8(a)), tr.expected+uint16(int8(b)))
				} else {
					pkt = packet(false, typ, 0, tr.expected+uint16(int8(a)), tr.acked+uint16(int8(b)))
				}
			case 2:
				pkt = packet(op&1 == 0, typ, 0, a, b)
				pkt[int(a)%len(pkt)] ^= byte(b)
			case 3:
				if op&1 == 0 {
					state, err := json.Marshal(tr)
					if err != nil {
						t.Fatal(err)
					}
					if tr, err = Restore(state, DefaultTiming(), now); err != nil {
						t.Fatal(err)
					}
					continue
				}
				switch a & 3 {
				case 0:
					v = tr.Ask(life)
				case 1:
					v = tr.Bury()
				case 2:
					v = tr.Close()
				default:
					tr.Missed(now)
					v = tr.Due(now, life)
				}
			}
			was := bytes.Clone(pkt)
			switch {
			case v != nil:
			case op&1 == 0:
				v = tr.Out(pkt, now, life)
			default:
				v = tr.In(pkt, now)
			}
			if v.Action != Rewrite && !bytes.Equal(pkt, was) {
				t.Fatalf("changed a packet that is not rewritten: %+v", v)
			}
			if v.Action == Rewrite {
				if _, err := l2tp.ParsePacket(v.Packet); err != nil {
					t.Fatal(err)
				}
			}
			for _, i := range v.Inject {
				p, err := l2tp.ParsePacket(i.Packet)
				if err != nil {
					t.Fatal(err)
				}
				if i.To == ToLocal && p.Msg.Tunnel != xID || i.To == ToPeer && p.Msg.Tunnel != pID {
					t.Fatalf("injected %+v", p)
				}
			}
		}
	})
}

// Any file is refused, or gives a translator that goes on: it judges packets, does
// what is due, and can be stored again.
func FuzzRestore(f *testing.F) {
	for _, tr := range []*Translator{New(Tunnel{Local: hostAddr, Peer: peerAddr}, DefaultTiming(), epoch), synced(f)} {
		for range 3 {
			state, err := json.Marshal(tr)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(state)
			tr.Out(packet(true, l2tp.TypeHello, 0, tr.high, 2), epoch, alive)
		}
	}
	for _, state := range corpus(f, "restore") {
		f.Add(state)
	}
	f.Fuzz(func(t *testing.T, state []byte) {
		tr, err := Restore(state, DefaultTiming(), epoch)
		if err != nil {
			return
		}
		now := epoch
		for i := range uint16(12) {
			now = now.Add(10 * time.Second)
			tr.In(l2tp.AppendPacket(nil, tr.tun.Peer, tr.tun.Local, l2tp.Message{Tunnel: max(tr.tun.LocalID, 1), Type: l2tp.TypeHello, Ns: tr.expected + i&1, Nr: tr.acked}), now)
			tr.Out(l2tp.AppendPacket(nil, tr.tun.Local, tr.tun.Peer, l2tp.Message{Tunnel: max(tr.tun.PeerID, 1), Type: l2tp.TypeHello, Ns: tr.high, Nr: tr.expected}), now, alive)
			tr.Ask(alive)
			if at, ok := tr.Wake(); ok {
				tr.Due(at, alive)
			}
		}
		tr.Close()
		tr.Bury()
		again, err := json.Marshal(tr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(again, DefaultTiming(), now); err != nil {
			t.Fatalf("%v: %s", err, again)
		}
	})
}
