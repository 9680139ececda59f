package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"xl2tpd-keepalive/lab/lns/l2tp"
	"xl2tpd-keepalive/lab/personality/capture"
)

// short is a conversation with little in it.
func short(t tester) []captured {
	b := l2tp.Defaults()
	b.HostName = "office"
	return converse(t, b, script{length: 90 * time.Second, delay: time.Millisecond, hangUp: 70 * time.Second})
}

func info(p captured, data []byte) gopacket.CaptureInfo {
	return gopacket.CaptureInfo{Timestamp: p.at, CaptureLength: len(data), Length: len(data)}
}

func pcap(t tester, link layers.LinkType, packets []captured, frame func(captured) []byte) []byte {
	var file bytes.Buffer
	w := pcapgo.NewWriter(&file)
	if err := w.WriteFileHeader(1<<16, link); err != nil {
		t.Fatal(err)
	}
	for _, p := range packets {
		data := frame(p)
		if err := w.WritePacket(info(p, data), data); err != nil {
			t.Fatal(err)
		}
	}
	return file.Bytes()
}

func ethernet(t tester, p captured) []byte {
	return append(append(bytes.Repeat([]byte{2}, 12), 8, 0), raw(t, p)...)
}

// cooked is a packet of `tcpdump -i any`, of the older and of the newer kind.
func cooked(t tester, p captured) []byte {
	return append(append([]byte{0, 0, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0}, 8, 0), raw(t, p)...)
}

func cooked2(t tester, p captured) []byte {
	return append([]byte{8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0}, raw(t, p)...)
}

// raw6 is a packet over IPv6, from a port of the client's own and from one of the router's own.
func raw6(t tester, p captured) []byte {
	client, router := net.ParseIP("2001:db8::1"), net.ParseIP("2001:db8::2")
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: client, DstIP: router}
	udp := &layers.UDP{SrcPort: 40000, DstPort: 1701}
	if p.fromRouter {
		ip.SrcIP, ip.DstIP = router, client
		udp.SrcPort, udp.DstPort = 50000, 40000
	}
	return serialized(t, udp, ip, p.payload)
}

func TestKindsOfCaptures(t *testing.T) {
	packets := short(t)
	kinds := map[string]struct {
		link  layers.LinkType
		frame func(captured) []byte
	}{
		"raw IP":         {layers.LinkTypeRaw, func(p captured) []byte { return raw(t, p) }},
		"Ethernet":       {layers.LinkTypeEthernet, func(p captured) []byte { return ethernet(t, p) }},
		"Linux cooked":   {layers.LinkTypeLinuxSLL, func(p captured) []byte { return cooked(t, p) }},
		"Linux cooked 2": {layers.LinkTypeLinuxSLL2, func(p captured) []byte { return cooked2(t, p) }},
		"IPv6":           {layers.LinkTypeRaw, func(p captured) []byte { return raw6(t, p) }},
	}
	want := control(readAll(t, pcapng(t, packets)))
	if want < 10 {
		t.Fatalf("%d control packets", want)
	}
	for name, k := range kinds {
		if got := control(readAll(t, pcap(t, k.link, packets, k.frame))); got != want {
			t.Errorf("%s: %d control packets, want %d", name, got, want)
		}
	}
}

func readAll(t tester, file []byte) *capture.File {
	t.Helper()
	f, err := capture.Read("test", bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Connections) != 1 {
		t.Fatalf("%d connections", len(f.Connections))
	}
	return f
}

func control(f *capture.File) (n int) {
	for _, p := range f.Connections[0].Packets {
		if !p.Data {
			n++
		}
	}
	return n
}

// What `xl2tpd-keepalive trace` writes has two interfaces, before and after the guard: only what the router saw counts.
func TestBothSidesOfTheGuard(t *testing.T) {
	var file bytes.Buffer
	w, err := pcapgo.NewNgWriterInterface(&file, pcapgo.NgInterface{Name: "xl2tpd", LinkType: layers.LinkTypeRaw}, pcapgo.NgWriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddInterface(pcapgo.NgInterface{Name: "peer", LinkType: layers.LinkTypeRaw}); err != nil {
		t.Fatal(err)
	}
	packets := short(t)
	for _, p := range packets {
		data := raw(t, p)
		for side := range 2 {
			hello := len(p.payload) > 19 && binary.BigEndian.Uint16(p.payload[18:]) == 6
			if side == 1 && hello && !p.fromRouter {
				continue // the guard keeps it
			}
			i := info(p, data)
			i.InterfaceIndex = side
			if err := w.WritePacket(i, data); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	f := readAll(t, file.Bytes())
	if want := control(readAll(t, pcapng(t, packets))) - 1; control(f) != want || f.Connections[0].Held != 1 {
		t.Errorf("%d control packets, want %d; %d Hellos kept, want 1", control(f), want, f.Connections[0].Held)
	}
	if out := turn(t, file.Bytes()); !strings.Contains(out, "The Hello guard kept 1") && !strings.Contains(out, "the Hello guard kept 1") {
		t.Errorf("nothing is said of the guard:\n%s", out)
	}
}

// turn runs the program over a file.
func turn(t *testing.T, file []byte, args ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "office.pcapng")
	if err := os.WriteFile(name, file, 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	if err := run(append(args, name), &out, &errs); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestWhatIsWrittenCanBeRead(t *testing.T) {
	out := turn(t, pcapng(t, short(t)))
	b := l2tp.Defaults()
	if err := b.Decode([]byte(out)); err != nil || b.HostName != "office" || b.Check() != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
		text := strings.TrimSpace(line)
		if strings.HasPrefix(text, "\"") && !strings.HasPrefix(text, "\"about\"") &&
			!strings.HasPrefix(strings.TrimSpace(strings.Split(out, "\n")[i-1]), "//") {
			t.Errorf("no comment beside %s", text)
		}
	}
}

func TestSeveralTunnels(t *testing.T) {
	one := short(t)
	var two []captured
	for _, p := range one {
		p.at = p.at.Add(5 * time.Minute)
		two = append(two, p)
	}
	file := pcapng(t, append(one, two...))
	for _, c := range []struct {
		args []string
		want int
	}{{nil, 2}, {[]string{"-tunnel", "2"}, 1}, {[]string{"-together"}, 1}} {
		if n := strings.Count(turn(t, file, c.args...), `"host_name"`); n != c.want {
			t.Errorf("%v: %d personalities, want %d", c.args, n, c.want)
		}
	}
}

func TestStrangeFiles(t *testing.T) {
	middle := short(t)[4:]
	classic := pcap(t, layers.LinkTypeRaw, short(t), func(p captured) []byte { return raw(t, p) })
	damaged := bytes.Clone(classic)
	binary.LittleEndian.PutUint32(damaged[24+8:], 1<<30) // the first packet's length
	esp := pcap(t, layers.LinkTypeRaw, short(t)[:1], func(captured) []byte {
		b := raw(t, captured{payload: make([]byte, 20)})
		b[9] = 50
		return b
	})
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty":           {nil, "x.pcapng is not a capture"},
		"text":            {[]byte("personality"), "x.pcapng is not a capture"},
		"damaged":         {damaged, "x.pcapng: packet 1: capture length exceeds"},
		"from the middle": {pcapng(t, middle), "begin the capture before the tunnel is dialled"},
		"IPsec":           {esp, "packet 1 is IPsec"},
		"something else":  {pcapng(t, short(t)[:1])[:108], "no control packet of L2TP"},
		"without answer":  {pcapng(t, short(t)[:1]), "packet 1: the router did not answer"},
		"cut":             {classic[:len(classic)/2], ""},
	} {
		name, file, want := name, c.file, c.want
		t.Run(name, func(t *testing.T) {
			f, err := capture.Read("x.pcapng", bytes.NewReader(file))
			if want == "" {
				if err != nil || len(f.Warnings) != 1 || !strings.Contains(f.Warnings[0], "the file ends in the middle of it") {
					t.Errorf("%v, %+v", err, f)
				}
				return
			}
			if err == nil {
				path := filepath.Join(t.TempDir(), "x.pcapng")
				if err := os.WriteFile(path, file, 0o600); err != nil {
					t.Fatal(err)
				}
				err = run([]string{path}, io.Discard, io.Discard)
			}
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want one line with %q", err, want)
			}
		})
	}
}

// A pcapng file that is cut off has what came before.
func TestCutPcapng(t *testing.T) {
	whole := pcapng(t, short(t))
	if n := control(readAll(t, whole[:len(whole)/2])); n == 0 || n >= control(readAll(t, whole)) {
		t.Errorf("%d control packets", n)
	}
}

// Each byte of a file can be wrong: that is an error or a warning, and never a panic.
func TestDamagedFiles(t *testing.T) {
	whole := pcapng(t, short(t)[:6])
	for i := range whole {
		for bit := range 2 {
			file := bytes.Clone(whole)
			file[i] ^= 1 << bit
			_, err := capture.Read("x.pcapng", bytes.NewReader(file))
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("byte %d: %v", i, err)
			}
		}
	}
}

func TestMaxClients(t *testing.T) {
	first := short(t)
	refusal := l2tp.Packet{Tunnel: 7, Nr: 1, AVPs: []l2tp.AVP{avp(l2tp.AVPMessageType, uint16(l2tp.StopCCN)),
		avp(l2tp.AVPAssignedTunnel, 8), {Mandatory: true, Type: l2tp.AVPResultCode, Value: []byte{0, 2, 0, 4}}}}
	request := l2tp.Packet{AVPs: []l2tp.AVP{avp(l2tp.AVPMessageType, uint16(l2tp.SCCRQ)), avp(l2tp.AVPAssignedTunnel, 7)}}
	at := begin.Add(30 * time.Second)
	packets := append(first, captured{at, false, request.Marshal()}, captured{at.Add(time.Millisecond), true, refusal.Marshal()})
	out := turn(t, pcapng(t, packets), "-tunnel", "2")
	if !strings.Contains(out, `"max_clients": 1`) || !strings.Contains(out, "refuses one more tunnel than the 1") {
		t.Error(out)
	}
}
