package main

import (
	"bytes"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"xl2tpd-keepalive/lab/personality/capture"
	"xl2tpd-keepalive/lab/personality/infer"
)

// Whatever is in a file, nothing panics, and what is inferred can be used.
func FuzzCapture(f *testing.F) {
	f.Add(pcapng(f, short(f)))
	f.Add(pcap(f, layers.LinkTypeRaw, short(f), func(p captured) []byte { return raw(f, p) }))
	f.Fuzz(func(t *testing.T, file []byte) {
		read, err := capture.Read("fuzz", bytes.NewReader(file))
		if err != nil {
			return
		}
		for _, c := range read.Connections {
			p, err := infer.Learn(read.Connections, c)
			if err == nil && p.Behaviour.Check() != nil {
				t.Error(p.Behaviour.Check())
			}
		}
	})
}
