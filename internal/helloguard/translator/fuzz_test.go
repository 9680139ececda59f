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
		tr := New(control, epoch)
		now := epoch
		for ; len(script) >= 5; script = script[5:] {
			op := script[0]
			a, b := binary.BigEndian.Uint16(script[1:]), binary.BigEndian.Uint16(script[3:])
			now = now.Add(time.Duration(op>>5) * time.Second)
			live := Liveness{Peer: a&1 == 0, Xl2tpd: b&1 == 0, PassFirst: a&2 == 0}
			typ := [...]l2tp.MessageType{l2tp.TypeHello, l2tp.TypeNone, typeOther, l2tp.TypeStopCCN}[op>>1&3]
			var v *Verdict
			var pkt []byte
			switch op >> 3 & 3 {
			case 0:
				pkt = packet(op&1 == 0, typ, 0, a, b)
			case 1:
				if op&1 == 0 {
					pkt = packet(true, typ, 0, tr.out.next.number+uint16(int8(a)), tr.in.expected+uint16(int8(b)))
				} else {
					pkt = packet(false, typ, 0, tr.in.expected+uint16(int8(a)), tr.out.acked.number+uint16(int8(b)))
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
					if tr, err = Restore(state, now); err != nil {
						t.Fatal(err)
					}
					continue
				}
				switch a & 3 {
				case 0:
					v = tr.Ask(now, live)
				case 1:
					v = tr.AckStop()
				case 2:
					v = tr.Close()
				default:
					tr.Resync(now)
					v = tr.HandleTimers(now, live)
				}
			}
			was := bytes.Clone(pkt)
			if v == nil {
				p, err := l2tp.ParsePacket(pkt)
				switch {
				case err != nil:
					continue
				case op&1 == 0:
					v = tr.Out(&p, now, live)
				default:
					v = tr.In(&p, now)
				}
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
				if i.To == ToXl2tpd && p.Msg.Tunnel != xID || i.To == ToPeer && p.Msg.Tunnel != pID {
					t.Fatalf("injected %+v", p)
				}
			}
		}
	})
}

// Any file is refused, or gives a translator that goes on: it decides about packets, does
// what is due, and can be stored again.
func FuzzRestore(f *testing.F) {
	for _, tr := range []*Translator{New(l2tp.Connection{Local: hostAddr, Peer: peerAddr}, epoch), inStep(f)} {
		for range 3 {
			state, err := json.Marshal(tr)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(state)
			fromXl2tpd(tr, l2tp.TypeHello, tr.out.next.number, 2, epoch, alive)
		}
	}
	for _, state := range corpus(f, "restore") {
		f.Add(state)
	}
	f.Fuzz(func(t *testing.T, state []byte) {
		tr, err := Restore(state, epoch)
		if err != nil {
			return
		}
		now := epoch
		for i := range uint16(12) {
			now = now.Add(10 * time.Second)
			tr.In(parsed(l2tp.AppendPacket(nil, tr.connection.Peer, tr.connection.Local, l2tp.Message{Tunnel: max(tr.connection.LocalID, 1), Type: l2tp.TypeHello, Ns: tr.in.expected + i&1, Nr: tr.out.acked.number})), now)
			tr.Out(parsed(l2tp.AppendPacket(nil, tr.connection.Local, tr.connection.Peer, l2tp.Message{Tunnel: max(tr.connection.PeerID, 1), Type: l2tp.TypeHello, Ns: tr.out.next.number, Nr: tr.in.expected})), now, alive)
			tr.Ask(now, alive)
			if at, ok := tr.NextTimer(); ok {
				tr.HandleTimers(at, alive)
			}
		}
		tr.Close()
		tr.AckStop()
		again, err := json.Marshal(tr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(again, now); err != nil {
			t.Fatalf("%v: %s", err, again)
		}
	})
}
