package pcapng

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

var (
	tunnel = l2tp.Connection{
		Local: netip.MustParseAddrPort("192.0.2.1:1701"), Peer: netip.MustParseAddrPort("198.51.100.7:1701"), LocalID: 7, PeerID: 9,
	}
	at = time.Date(2026, 11, 29, 16, 5, 36, 123456789, time.UTC)
)

// packet is what a file has of a message.
type packet struct {
	iface    int
	src, dst netip.AddrPort
	l2tp.Message
	comments []string
}

// Each end's interface has the messages that this end sees, in whole packets with this end's numbers.
func TestWriter(t *testing.T) {
	hello := l2tp.Message{Type: l2tp.TypeHello, Length: l2tp.HelloLen, Tunnel: 9, Ns: 5, Nr: 3}
	zlb := l2tp.Message{Length: l2tp.HeaderLen, Tunnel: 7, Ns: 3, Nr: 5}
	held := controltrace.NewRecord(at, true, hello, l2tp.AppendMessage(nil, hello))
	held.Verdict, held.Why, held.Peer = controltrace.Held, translator.HelloAcked, controltrace.End{}
	renumbered := controltrace.NewRecord(at, false, zlb, l2tp.AppendMessage(nil, zlb))
	renumbered.Verdict, renumbered.Xl2tpd.Nr = controltrace.Renumbered, 6

	var file bytes.Buffer
	recording := controltrace.Recording{Connection: tunnel, Records: []controltrace.Record{held, renumbered}}
	err := WriteRecordings(&file, "xl2tpd-keepalive 1.0", []controltrace.Recording{recording}, func(l2tp.Connection) string { return "lac office" })
	if err != nil {
		t.Fatal(err)
	}
	toXl2tpd := zlb
	toXl2tpd.Nr = 6
	want := []packet{
		{0, tunnel.Local, tunnel.Peer, hello, []string{"lac office", "held, acknowledged by the guard: " + translator.HelloAcked.String()}},
		{1, tunnel.Peer, tunnel.Local, zlb, []string{"lac office", "renumbered"}},
		{0, tunnel.Peer, tunnel.Local, toXl2tpd, []string{"lac office", "renumbered"}},
	}
	got := read(t, &file)
	equal := func(a, b packet) bool {
		return a.iface == b.iface && a.src == b.src && a.dst == b.dst && a.Message == b.Message && slices.Equal(a.comments, b.comments)
	}
	if !slices.EqualFunc(got, want, equal) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// read reads a file with another reader than the one that has written it would need.
func read(t *testing.T, file io.Reader) (all []packet) {
	t.Helper()
	r, err := pcapgo.NewNgReader(file, pcapgo.NgReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if r.LinkType() != layers.LinkTypeRaw || r.SectionInfo().Application != "xl2tpd-keepalive 1.0" {
		t.Errorf("got %v, %+v, want raw IP and the program's name", r.LinkType(), r.SectionInfo())
	}
	for {
		data, info, options, err := r.ReadPacketDataWithOptions()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !info.Timestamp.Equal(at) || info.CaptureLength != info.Length {
			t.Errorf("got %+v, want the time of the message, and a whole packet", info)
		}
		p, err := l2tp.ParsePacket(data)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, packet{info.InterfaceIndex, p.Src, p.Dst, p.Msg, options.Comments})
	}
	for i, name := range []string{"xl2tpd", "peer"} {
		if n, err := r.Interface(i); err != nil || n.Name != name {
			t.Errorf("interface %d: %+v, %v", i, n, err)
		}
	}
	return all
}

// The headers of a message that was cut have its whole length.
func TestCut(t *testing.T) {
	b := l2tp.AppendMessage(nil, l2tp.Message{Type: l2tp.TypeHello})
	r := controltrace.NewRecord(at, true, l2tp.Message{}, b)
	r.Length = 2000
	var file bytes.Buffer
	w := NewWriter(&file, "")
	w.Write(tunnel, "", &r)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	in, err := pcapgo.NewNgReader(&file, pcapgo.NgReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	data, info, err := in.ReadPacketData()
	if err != nil || info.Length != 2028 || info.CaptureLength != 28+len(b) || binary.BigEndian.Uint16(data[2:]) != 2028 || binary.BigEndian.Uint16(data[24:]) != 2008 {
		t.Errorf("got %+v, %x, %v, want a packet of 2028 bytes, %d of them captured", info, data, err, 28+len(b))
	}
}

// An error is returned, also if only an earlier block could not be written.
func TestFullDisk(t *testing.T) {
	r := controltrace.NewRecord(at, true, l2tp.Message{}, l2tp.AppendMessage(nil, l2tp.Message{Type: l2tp.TypeHello}))
	disk := &fullDisk{}
	w := NewWriter(disk, "")
	for _, when := range []string{"at the header", "at a message"} {
		if err := w.Flush(); err != errFull {
			t.Errorf("%s: got %v, want %v", when, err, errFull)
		}
		w.Write(tunnel, "", &r)
		disk.room = true
	}
}

type fullDisk struct{ room bool }

var errFull = errors.New("no space left on device")

func (f *fullDisk) Write(b []byte) (int, error) {
	if !f.room {
		return 0, errFull
	}
	return len(b), nil
}
