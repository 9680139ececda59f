package xl2tpd

import (
	"net/netip"
	"strconv"
	"strings"

	"xl2tpd-keepalive/internal/message"
)

// numeric reports whether glibc takes a host for an address and never looks it up as a name: it
// consists of digits and dots, and does not end in a dot (glibc, nss/digits_dots.c).
func numeric(host string) bool {
	return host != "" && strings.Trim(host, "0123456789.") == "" && host[0] != '.' && !strings.HasSuffix(host, ".")
}

// ParseAddr reads an IPv4 address as xl2tpd does. xl2tpd uses gethostbyname, which uses inet_aton: a
// number that begins with 0 is octal, and the last of fewer than four numbers fills the remaining
// bytes.
func ParseAddr(host string) (a netip.Addr, ok bool) {
	parts := strings.Split(host, ".")
	if !numeric(host) || len(parts) > 4 {
		return netip.Addr{}, false
	}
	var b [4]byte
	for i, part := range parts {
		last, left := i == len(parts)-1, 8
		if last {
			left = 8 * (4 - i)
		}
		base := 10
		if strings.HasPrefix(part, "0") {
			base = 8
		}
		n, err := strconv.ParseUint(part, base, left)
		if err != nil {
			return netip.Addr{}, false
		}
		b[i] = byte(n)
		for j := 3; last && j >= i; j-- {
			b[j] = byte(n)
			n >>= 8
		}
	}
	return netip.AddrFrom4(b), true
}

// LNSFault returns why xl2tpd can never dial a LAC; empty: the file shows no reason.
func (s *Section) LNSFault() message.Text {
	if len(s.LNS) == 0 {
		return ""
	}
	host := s.LNS[0]
	_, address := ParseAddr(host)
	switch {
	case host == "":
		return "`lns` has no value: there is nobody to dial"
	case strings.Contains(host, "#"):
		return message.Sprintf("`lns` is %q, and xl2tpd looks all of that up as one name: a comment starts with ';' here", host)
	case numeric(host) && !address && (strings.HasPrefix(host, "0") || strings.Contains(host, ".0")):
		return message.Sprintf("`lns` is %q, which is no address: a number that begins with 0 is octal", host)
	case numeric(host) && !address:
		return message.Sprintf("`lns` is %q, which is no IPv4 address", host)
	case strings.ContainsFunc(host, neverInName):
		return message.Sprintf("`lns` is %q, and xl2tpd looks all of that up as one name: give one host, and its port behind ':' without a blank", host)
	}
	return ""
}

// neverInName reports whether no resolver accepts this character in a host name.
func neverInName(r rune) bool {
	return r <= ' ' || r == 0x7f || r < 0x80 && strings.ContainsRune(`"'/,;@%&()<>[]{}=\|*?!$^~+`+"`", r)
}
