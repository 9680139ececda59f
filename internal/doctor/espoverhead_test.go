package doctor

import (
	"testing"

	"pgregory.net/rapid"

	"xl2tpd-keepalive/vici"
)

func TestSuiteOf(t *testing.T) {
	for _, tc := range []struct {
		cipher, integrity string
		size, outer       int // 0: the algorithms are not known
	}{
		// 20 + 8 + 16 + (8 + 10 + 1400 + 2, filled up to 1424) + 16
		{"AES_CBC", "HMAC_SHA2_256_128", 1400, 1484},
		{"AES_CBC", "HMAC_SHA1_96", 1400, 1480},
		{"AES_CBC", "HMAC_SHA1_96", 1404, 1480},
		{"AES_CBC", "HMAC_SHA1_96", 1405, 1496},
		{"3DES_CBC", "HMAC_MD5_96", 1400, 1472},
		// 20 + 8 + 8 + (8 + 10 + 1400 + 2) + 16
		{"AES_GCM_16", "", 1400, 1472},
		{"AES_CBC", "", 1400, 0},
		{"AES_CBC", "HMAC_GOST", 1400, 0},
		{"KUZNYECHIK", "HMAC_SHA1_96", 1400, 0},
		{"", "", 1400, 0},
	} {
		s, ok := suiteOf(vici.Child{Cipher: tc.cipher, Integrity: tc.integrity})
		if ok != (tc.outer > 0) {
			t.Errorf("%s, %s: known is %v", tc.cipher, tc.integrity, ok)
		}
		if ok && (s.outer(tc.size, 10, false) != tc.outer || s.outer(tc.size, 10, true) != tc.outer+8) {
			t.Errorf("%s, %s: %d bytes, want %d", tc.cipher, tc.integrity, s.outer(tc.size, 10, false), tc.outer)
		}
	}
}

// What fits is the longest that does.
func TestInner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom([]suite{{16, 16, 12}, {8, 8, 12}, {8, 4, 16}, {0, 4, 0}}).Draw(t, "suite")
		most, header := rapid.IntRange(200, 9000).Draw(t, "most"), rapid.SampledFrom(l2tpHeaders).Draw(t, "header")
		encap := rapid.Bool().Draw(t, "encap")
		size := s.inner(most, header, encap)
		if s.outer(size, header, encap) > most || s.outer(size+1, header, encap) <= most {
			t.Fatalf("%d in %d", size, most)
		}
	})
}
