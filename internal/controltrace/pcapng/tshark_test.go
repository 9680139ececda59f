//go:build captures

package pcapng

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/helloguard/translator"
	"xl2tpd-keepalive/internal/l2tp"
)

// fields are what tshark is asked for of each packet, in the order of a row.
var fields = []string{
	"frame.time_epoch", "frame.interface_name", "ip.src", "udp.srcport", "ip.dst", "udp.dstport", "l2tp.tunnel",
	"l2tp.avp.message_type", "l2tp.Ns", "l2tp.Nr", "frame.comment",
	"ip.checksum.status", "udp.checksum.status", "_ws.malformed", "_ws.expert.severity",
}

const (
	separator  = "\x1f" // between fields
	aggregator = "\x1e" // between values of one field
)

// dissect returns a row for each packet of a file, as tshark understands it. It trusts no checksum.
func dissect(t *testing.T, file string) (rows []string) {
	t.Helper()
	args := []string{"-r", file, "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE",
		"-T", "fields", "-E", "separator=" + separator, "-E", "aggregator=" + aggregator}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	command := exec.Command("tshark", args...)
	var complaint bytes.Buffer
	command.Stderr = &complaint
	out, err := command.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, &complaint)
	}
	return slices.Collect(strings.Lines(string(out)))
}

// row is what tshark must say of a packet that our own reader has read: nothing is wrong with it.
func row(iface string, at time.Time, p l2tp.Packet, comments []string) string {
	kind := ""
	if p.Msg.Type != 0 {
		kind = strconv.Itoa(int(p.Msg.Type))
	}
	const good = "1"
	noted := strings.Repeat(aggregator+"1048576", len(comments)) // a comment is a notice, too: PI_COMMENT
	return strings.Join([]string{
		fmt.Sprintf("%d.%09d", at.Unix(), at.Nanosecond()), iface,
		p.Src.Addr().String(), strconv.Itoa(int(p.Src.Port())), p.Dst.Addr().String(), strconv.Itoa(int(p.Dst.Port())),
		strconv.Itoa(int(p.Msg.Tunnel)), kind, strconv.Itoa(int(p.Msg.Ns)), strconv.Itoa(int(p.Msg.Nr)),
		strings.Join(comments, aggregator), good, good, "", strings.TrimPrefix(noted, aggregator),
	}, separator) + "\n"
}

// compare holds if tshark reads the same from a file as our own reader does. It returns what the comments say, and how
// many packets there are.
func compare(t *testing.T, file string) (said map[string]int, packets int) {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r, err := pcapgo.NewNgReader(in, pcapgo.NgReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rows := dissect(t, file)
	said = map[string]int{}
	for ; ; packets++ {
		data, info, options, err := r.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			break
		}
		p, wrong := l2tp.ParsePacket(data)
		on, unknown := r.Interface(info.InterfaceIndex)
		if err := cmp.Or(err, wrong, unknown); err != nil {
			t.Fatalf("%s, packet %d: %v", file, packets+1, err)
		}
		want := row(on.Name, info.Timestamp, p, options.Comments)
		if packets >= len(rows) || rows[packets] != want {
			t.Fatalf("%s, packet %d: we read\n%q, tshark\n%q", file, packets+1, want, rows[packets:min(packets+1, len(rows))])
		}
		for _, c := range options.Comments {
			said[c]++
		}
	}
	if packets != len(rows) {
		t.Errorf("%s: %d packets, %d for tshark", file, packets, len(rows))
	}
	return said, packets
}

// tshark reads each file that the scenarios have left as our own reader does, numbers and comments.
func TestTsharkReadsTheLabsFiles(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(os.Getenv("CAPTURES"), "*.pcapng"))
	if len(files) < 6 {
		t.Fatalf("CAPTURES=%s has only %q: make captures", os.Getenv("CAPTURES"), files)
	}
	for _, file := range files {
		said, packets := compare(t, file)
		name := filepath.Base(file)
		if packets < 8 {
			t.Errorf("%s: only %d packets", name, packets)
		}
		var remarks []string
		for text, n := range said {
			remarks = append(remarks, fmt.Sprintf("%d × %q", n, text))
		}
		slices.Sort(remarks)
		t.Logf("%s: %d packets; %s", name, packets, strings.Join(remarks, ", "))
		if name == "trace-all.pcapng" {
			for _, part := range []string{"held", "sent by the guard", "renumbered"} {
				if !slices.ContainsFunc(remarks, func(s string) bool { return strings.Contains(s, part) }) {
					t.Errorf("%s: no comment has %q", name, part)
				}
			}
		}
	}
}

// tshark shows each verdict and each reason as we write it, and understands each type.
func TestTsharkReadsEachVerdict(t *testing.T) {
	var records []controltrace.Record
	types := []l2tp.MessageType{l2tp.TypeNone, l2tp.TypeSCCRQ, l2tp.TypeSCCRP, l2tp.TypeSCCCN, l2tp.TypeStopCCN, l2tp.TypeHello, l2tp.TypeICRQ, 11, 12, l2tp.TypeCDN}
	for v := controltrace.Seen; v <= controltrace.Asked; v++ {
		for i, typ := range types {
			m := l2tp.Message{Type: typ, Tunnel: 9, Ns: uint16(65530 + i), Nr: uint16(65533 + i)}
			r := controltrace.NewRecord(at, i%2 == 0, m, l2tp.AppendMessage(nil, m))
			r.Verdict, r.Again = v, i%3 == 0
			if v == controltrace.Held || v == controltrace.Dropped {
				r.Why, r.Peer.Sees, r.Xl2tpd.Sees = translator.HelloAcked, !r.ToPeer, r.ToPeer
			}
			records = append(records, r)
		}
	}
	file := filepath.Join(t.TempDir(), "verdicts.pcapng")
	to, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	recording := controltrace.Recording{Connection: tunnel, Records: records}
	name := func(l2tp.Connection) string { return "lac büro" }
	if err := WriteRecordings(to, "xl2tpd-keepalive", []controltrace.Recording{recording}, name); err != nil {
		t.Fatal(err)
	}
	said, packets := compare(t, file)
	t.Logf("%d packets, %d texts", packets, len(said))
}
