package doctor

import "xl2tpd-keepalive/vici"

// What is before a PPP frame's data besides ESP, in bytes.
const (
	ipv4Header = 20
	udpHeader  = 8
	l2tpHeader = 6 // of data without a length and numbers (RFC 2661, section 3.1); it may have 2, 4 or 6 more
	pppHeader  = 4 // address, control and protocol (RFC 1661, RFC 1662)
	espHeader  = 8 // SPI and sequence number (RFC 4303, section 2)
	espTrailer = 2 // pad length and next header
)

// suite is what a cipher and its integrity check add to ESP, in bytes.
type suite struct {
	iv, block, icv int
}

// ciphers are by charon's name. A block is what the padding fills up (RFC 4303, section 2.4). Those with an ICV of their
// own have no other integrity check.
var ciphers = map[string]suite{
	"AES_CBC":              {iv: 16, block: 16},
	"CAMELLIA_CBC":         {iv: 16, block: 16},
	"SERPENT_CBC":          {iv: 16, block: 16},
	"TWOFISH_CBC":          {iv: 16, block: 16},
	"3DES_CBC":             {iv: 8, block: 8},
	"DES_CBC":              {iv: 8, block: 8},
	"BLOWFISH_CBC":         {iv: 8, block: 8},
	"CAST_CBC":             {iv: 8, block: 8},
	"AES_CTR":              {iv: 8, block: 4},
	"NULL":                 {block: 4},
	"AES_GCM_8":            {iv: 8, block: 4, icv: 8},
	"AES_GCM_12":           {iv: 8, block: 4, icv: 12},
	"AES_GCM_16":           {iv: 8, block: 4, icv: 16},
	"AES_CCM_8":            {iv: 8, block: 4, icv: 8},
	"AES_CCM_12":           {iv: 8, block: 4, icv: 12},
	"AES_CCM_16":           {iv: 8, block: 4, icv: 16},
	"NULL_AES_GMAC":        {iv: 8, block: 4, icv: 16},
	"CHACHA20_POLY1305":    {iv: 8, block: 4, icv: 16},
	"CHACHA20_POLY1305_16": {iv: 8, block: 4, icv: 16},
}

// integrities are by charon's name, with the length of their ICV.
var integrities = map[string]int{
	"HMAC_MD5_96": 12, "HMAC_MD5_128": 16, "HMAC_SHA1_96": 12, "HMAC_SHA1_160": 20, "AES_XCBC_96": 12, "AES_CMAC_96": 12,
	"HMAC_SHA2_256_96": 12, "HMAC_SHA2_256_128": 16, "HMAC_SHA2_384_192": 24, "HMAC_SHA2_512_256": 32,
}

// suiteOf returns what a CHILD SA adds; ok is false if its algorithms are not known here.
func suiteOf(c vici.Child) (s suite, ok bool) {
	s, ok = ciphers[c.Cipher]
	if !ok || s.icv > 0 || c.Integrity == "" {
		return s, ok && s.icv > 0
	}
	s.icv, ok = integrities[c.Integrity]
	return s, ok
}

// outer returns how long the ESP packet is that carries a packet of that size through a tunnel. header is what L2TP and
// PPP add. ESP is in transport mode, as L2TP/IPsec has it (RFC 3193).
func (s suite) outer(size, header int, encap bool) int {
	payload := udpHeader + header + size + espTrailer
	payload += (s.block - payload%s.block) % s.block
	outer := ipv4Header + espHeader + s.iv + payload + s.icv
	if encap {
		outer += udpHeader
	}
	return outer
}

// inner returns the longest packet whose ESP packet is not longer than that.
func (s suite) inner(most, header int, encap bool) int {
	size := most
	for size > 0 && s.outer(size, header, encap) > most {
		size--
	}
	return size
}

// l2tpHeaders are what L2TP and PPP may add: with and without a length, and a PPP header in full or compressed.
var l2tpHeaders = []int{l2tpHeader + pppHeader, l2tpHeader + pppHeader + 2, l2tpHeader + pppHeader - 2}
