package bundle

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// anonymiser replaces addresses and names by others, each always by the same one. The key is random and is not kept.
type anonymiser struct {
	key   []byte
	names *regexp.Regexp // nil: there are none
	alias map[string]string
	v6    map[netip.Addr]int
	macs  map[string]int
}

// newAnonymiser takes the names that are to be replaced.
func newAnonymiser(key []byte, names []string) *anonymiser {
	a := &anonymiser{key: key, alias: map[string]string{}, v6: map[netip.Addr]int{}, macs: map[string]int{}}
	names = slices.Clone(names)
	slices.SortFunc(names, func(a, b string) int { return len(b) - len(a) }) // the longest match first
	var patterns []string
	for _, name := range names {
		word := strings.ToLower(name)
		if len(name) < 2 || vocabulary[word] || plain[word] || addressLike.MatchString(name) || a.alias[name] != "" {
			continue
		}
		a.alias[name] = fmt.Sprintf("name-%d", len(a.alias)+1)
		patterns = append(patterns, regexp.QuoteMeta(name))
	}
	if patterns != nil {
		a.names = regexp.MustCompile(`(^|[^\pL\pN_])(` + strings.Join(patterns, "|") + `)($|[^\pL\pN_])`)
	}
	return a
}

// vocabulary are words that tunnels and hosts may be called, but that other things are called as well.
var vocabulary = set(`
	lac lns global default l2tp vpn ppp pppd xl2tpd xl2tpd-keepalive ipsec charon strongswan swanctl localhost lab debian
	ubuntu linux kernel name link state peer local remote up down alive silent tunnel tunnels doctor status config conn
	router client server host root adm any all main via dev src proto scope mtu ip inet eth0 conns children secrets
	connections left right l2tp-psk psk lo
`)

var (
	addressLike = regexp.MustCompile(`^[0-9./]+$|:`)
	ipv4        = regexp.MustCompile(`\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?:/\d{1,2})?\b`)
	ipv6        = regexp.MustCompile(`(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}`)
	mac         = regexp.MustCompile(`\b(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}\b`)
)

// text replaces all in a text.
func (a *anonymiser) text(text string) string {
	if a.names != nil {
		// Twice, because the letter between two names belongs to one match only.
		for range 2 {
			text = a.names.ReplaceAllStringFunc(text, func(found string) string {
				m := a.names.FindStringSubmatch(found)
				return m[1] + a.alias[m[2]] + m[3]
			})
		}
	}
	text = mac.ReplaceAllStringFunc(text, a.mac)
	text = ipv6.ReplaceAllStringFunc(text, a.ipv6)
	return ipv4.ReplaceAllStringFunc(text, a.ipv4)
}

func (a *anonymiser) mac(found string) string {
	if strings.Trim(found, "0:") == "" || strings.EqualFold(strings.Trim(found, "fF:"), "") {
		return found
	}
	found = strings.ToLower(found)
	if a.macs[found] == 0 {
		a.macs[found] = len(a.macs) + 1
	}
	n := a.macs[found]
	return fmt.Sprintf("02:00:00:00:%02x:%02x", n>>8&0xff, n&0xff)
}

// ipv6 replaces an address by one of 2001:db8::/32 (RFC 3849), or of the kind that it has.
func (a *anonymiser) ipv6(found string) string {
	addr, err := netip.ParseAddr(found)
	if err != nil || addr.IsLoopback() || addr.IsUnspecified() || addr.IsMulticast() {
		return found // a time, or an address that says nothing
	}
	if a.v6[addr] == 0 {
		a.v6[addr] = len(a.v6) + 1
	}
	if addr.IsLinkLocalUnicast() {
		return fmt.Sprintf("fe80::%x", a.v6[addr])
	}
	return fmt.Sprintf("2001:db8::%x", a.v6[addr])
}

// ipv4 replaces an address, so that two in one network stay in one network (Xu, Fan, Ammar, Moon: Prefix-preserving IP
// address anonymization, 2002). A private one stays private in its range. What says nothing stays as it is.
func (a *anonymiser) ipv4(found string) string {
	text, length, isPrefix := strings.Cut(found, "/")
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.IsLoopback() || addr.IsUnspecified() || addr.IsMulticast() || addr.As4()[0] >= 240 {
		return found
	}
	own := ownBits(addr)
	bits := 32
	if isPrefix {
		fmt.Sscan(length, &bits)
		if netip.PrefixFrom(addr, bits).Masked().Addr() != addr {
			bits = 32 // an address of the network, and not the network itself
		}
	}
	b := addr.As4()
	n := binary.BigEndian.Uint32(b[:])
	out := n
	for i := own; i < bits; i++ {
		if a.flips(n, i) {
			out ^= 1 << (31 - i)
		}
	}
	binary.BigEndian.PutUint32(b[:], out)
	replaced := netip.AddrFrom4(b).String()
	if isPrefix {
		replaced += "/" + length
	}
	return replaced
}

// ownBits is how many bits at the beginning of an address stay: they say which kind it is. They depend on the first
// number alone, so that no two addresses become one.
func ownBits(addr netip.Addr) int {
	switch addr.As4()[0] {
	case 100: // 100.64.0.0/10
		return 10
	case 172: // 172.16.0.0/12
		return 12
	case 169, 192: // 169.254.0.0/16, 192.168.0.0/16
		return 16
	}
	return 8 // 10.0.0.0/8 and all others
}

// flips reports whether bit i changes. It depends on the bits before, so that networks stay networks.
func (a *anonymiser) flips(n uint32, i int) bool {
	var before [5]byte
	if i > 0 {
		binary.BigEndian.PutUint32(before[:4], n>>(32-i)<<(32-i))
	}
	before[4] = byte(i)
	h := hmac.New(sha256.New, a.key)
	h.Write(before[:])
	return h.Sum(nil)[0]&1 == 1
}
