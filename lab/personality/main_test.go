package main

import (
	"bytes"
	"net"
	"os"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"xl2tpd-keepalive/lab/lns/l2tp"
	"xl2tpd-keepalive/lab/personality/capture"
	"xl2tpd-keepalive/lab/personality/infer"
)

// raw puts a UDP payload into an IP packet.
func raw(t tester, p captured) []byte {
	from, to := net.IPv4(10, 0, 0, 1).To4(), net.IPv4(192, 0, 2, 1).To4()
	if p.fromRouter {
		from, to = to, from
	}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: from, DstIP: to}
	udp := &layers.UDP{SrcPort: 1701, DstPort: 1701}
	return serialized(t, udp, ip, p.payload)
}

func serialized(t tester, udp *layers.UDP, ip gopacket.SerializableLayer, payload []byte) []byte {
	t.Helper()
	if err := udp.SetNetworkLayerForChecksum(ip.(gopacket.NetworkLayer)); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(b, options, ip, udp, gopacket.Payload(payload)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pcapng writes a capture of whole IP packets.
func pcapng(t tester, packets []captured) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := pcapgo.NewNgWriter(&file, layers.LinkTypeRaw)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packets {
		data := raw(t, p)
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: p.at, CaptureLength: len(data), Length: len(data)}, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// connections reads a capture back.
func connections(t tester, packets []captured) []*capture.Connection {
	t.Helper()
	file, err := capture.Read("test.pcapng", bytes.NewReader(pcapng(t, packets)))
	if err != nil || len(file.Warnings) > 0 {
		t.Fatalf("%q, %v", file.Warnings, err)
	}
	return file.Connections
}

// learn makes a personality from a capture of one tunnel.
func learn(t tester, packets []captured) *infer.Personality {
	t.Helper()
	all := connections(t, packets)
	if len(all) != 1 {
		t.Fatalf("%d connections", len(all))
	}
	p, err := infer.Learn(all, all...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func load(t tester, file string) l2tp.Behaviour {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b := l2tp.Defaults()
	if err := b.Decode(text); err != nil {
		t.Fatal(err)
	}
	return b
}
