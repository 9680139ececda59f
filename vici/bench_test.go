package vici

import (
	"encoding/binary"
	"fmt"
	"testing"

	govici "github.com/strongswan/govici/vici"
)

// Measures the client's part of one list of all SAs.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 4000} {
		b.Run(fmt.Sprint("SAs=", n), func(b *testing.B) {
			c := &charon{}
			packet := func(p []byte) {
				c.garbage = append(binary.BigEndian.AppendUint32(c.garbage, uint32(len(p))), p...)
			}
			for i := range n {
				packet(append([]byte("\x07\x07list-sa"), encode(full(b, i))...))
			}
			packet([]byte{1})
			s, err := open(b.Context(), nil, c.dial, true)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			b.ReportAllocs()
			for b.Loop() {
				if sas, err := s.list(b.Context(), nil); err != nil || len(sas) != n {
					b.Fatalf("%d SAs, %v", len(sas), err)
				}
			}
		})
	}
}

// full returns a list-sa message with all fields that charon 5.9 sends for an SA and its child.
func full(b *testing.B, i int) *govici.Message {
	peer := fmt.Sprintf("10.1.%d.%d", i>>8, i&255)
	return fields(b, fmt.Sprint("branch", i), fields(b,
		"uniqueid", fmt.Sprint(i), "version", "1", "state", "ESTABLISHED", "local-host", "192.0.2.100", "local-port", "4500",
		"local-id", "192.0.2.100", "remote-host", peer, "remote-port", "4500", "remote-id", peer, "initiator", "yes",
		"initiator-spi", "0123456789abcdef", "responder-spi", "fedcba9876543210", "nat-local", "yes", "nat-any", "yes",
		"encr-alg", "AES_CBC", "encr-keysize", "128", "integ-alg", "HMAC_SHA1_96", "prf-alg", "PRF_HMAC_SHA1", "dh-group", "MODP_2048",
		"established", "1234", "rekey-time", "12345",
		"child-sas", fields(b, fmt.Sprintf("branch%d-%d", i, i), fields(b,
			"name", fmt.Sprint("branch", i), "uniqueid", fmt.Sprint(i), "reqid", "1", "state", "INSTALLED", "mode", "TRANSPORT",
			"protocol", "ESP", "encap", "yes", "spi-in", "c0ffee01", "spi-out", "c0ffee02", "encr-alg", "AES_CBC", "encr-keysize", "128",
			"integ-alg", "HMAC_SHA1_96", "bytes-in", "123456", "packets-in", "1234", "use-in", "3", "bytes-out", "123456",
			"packets-out", "1234", "use-out", "3", "rekey-time", "3000", "life-time", "3600", "install-time", "600",
			"local-ts", []string{"192.0.2.100/32[udp/l2f]"}, "remote-ts", []string{peer + "/32[udp/l2f]"}))))
}
