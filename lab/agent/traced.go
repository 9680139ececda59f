package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/gopacket/gopacket/pcapgo"
	"github.com/rogpeppe/go-internal/testscript"

	"xl2tpd-keepalive/internal/l2tp"
)

// tracedCommand compares a file of trace with the lines of another trace at the same time: type, direction, Ns and Nr of
// each message, as each end sees it.
func tracedCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "traced PCAPNG LINES")
	in, err := os.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer in.Close()
	written, err := readPcapng(in)
	ts.Check(err)
	shown := readLines(ts.ReadFile(args[1]))
	for i := range min(len(written), len(shown)) {
		if written[i] != shown[i] {
			ts.Fatalf("packet %d: the file has %q, the lines have %q", i, written[i], shown[i])
		}
	}
	const late = 4 // what may come between the ends of the two traces
	if len(shown) < 10 || max(len(written), len(shown))-min(len(written), len(shown)) > late {
		ts.Fatalf("%d packets in the file, %d in the lines", len(written), len(shown))
	}
	clientOf(ts).measure("%d packets in the file and in the lines", min(len(written), len(shown)))
}

// readPcapng returns a text for each packet of a file.
func readPcapng(from io.Reader) (all []string, err error) {
	r, err := pcapgo.NewNgReader(from, pcapgo.NgReaderOptions{})
	if err != nil {
		return nil, err
	}
	for {
		data, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		p, err := l2tp.ParsePacket(data)
		if err != nil {
			return nil, err
		}
		name := "other"
		switch {
		case p.Msg.ZLB():
			name = "ZLB"
		case p.Msg.Type == l2tp.TypeHello:
			name = "Hello"
		case p.Msg.Type == l2tp.TypeStopCCN:
			name = "StopCCN"
		}
		all = append(all, fmt.Sprintf("%s %s %d %d", []string{"xl2tpd", "peer"}[info.InterfaceIndex], name, p.Msg.Ns, p.Msg.Nr))
	}
}

var traceLine = regexp.MustCompile(`(xl2tpd|peer|guard) → (xl2tpd|peer) +([\w ]+?) +Ns (\d+)(?:→(\d+))? Nr (\d+)(?:→(\d+))?`)

// readLines returns the same text for each end that sees a line's message.
func readLines(text string) (all []string) {
	for line := range strings.Lines(text) {
		m := traceLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		from, to, name := m[1], m[2], m[3]
		if name != "ZLB" && name != "Hello" && name != "StopCCN" {
			name = "other"
		}
		if from != "guard" {
			all = append(all, fmt.Sprintf("%s %s %s %s", from, name, m[4], m[6]))
		}
		if strings.Contains(line, "[held") || strings.Contains(line, "[dropped") || strings.Contains(line, ", held") || strings.Contains(line, ", dropped") {
			continue
		}
		ns, nr := m[5], m[7]
		if ns == "" {
			ns = m[4]
		}
		if nr == "" {
			nr = m[6]
		}
		all = append(all, fmt.Sprintf("%s %s %s %s", to, name, ns, nr))
	}
	return all
}
