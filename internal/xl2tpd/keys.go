package xl2tpd

import (
	"strconv"
	"strings"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// keyRule is what xl2tpd requires of some keys.
type keyRule struct {
	sections string // kinds of sections that may have them
	names    string
	fault    func(value string) message.Text // what a wrong value must be; empty: the value is right
}

// keyRules are the keys of xl2tpd 1.3.12 to 1.3.20 (file.c, words). With one mistake in any of them
// xl2tpd does not start.
var keyRules = byName([]keyRule{
	{"global", "port, saref refinfo, max retries, cap backoff", anything},
	{"global", "access control, force userspace, ipsec saref", yesOrNo},
	{"global", "debug avp, debug network, debug packet, debug state, debug tunnel", yesOrNo},
	{"global", "auth file", something},
	{"global", "rand source", randSource},
	{"global", "listen-addr", knownHost},

	{"lac", "lns", anything},
	{"lac", "autodial, redial, defaultroute", yesOrNo},
	{"lac", "redial timeout, max redials", atLeast(1)},
	{"lac", "remote ip", knownHost},

	{"lns", "ip range, no ip range, local ip range, lac, no lac", anything}, // see addRange
	{"lns", "exclusive, assign ip, unix authentication, unix auth", yesOrNo},

	{"lac lns", "name, hostname, pppoptfile", anything},
	{"lac lns", "local ip", knownHost},
	{"lac lns", "length bit, hidden bit, flow bit, challenge, ppp debug, pass peer", yesOrNo},
	{"lac lns", "require pap, require chap, require authentication, require auth", yesOrNo},
	{"lac lns", "refuse pap, refuse chap, refuse authentication, refuse auth", yesOrNo},
	{"lac lns", "tx bps, rx bps, bps, tunnel rws", atLeast(1)},
	{"lac lns", "call rws", atLeast(-1)},
})

func byName(all []keyRule) map[string]keyRule {
	named := map[string]keyRule{}
	for _, rule := range all {
		for name := range strings.SplitSeq(rule.names, ", ") {
			named[name] = rule
		}
	}
	return named
}

// keyFault returns why xl2tpd refuses a key; empty: it does not. It ignores keys that no xl2tpd up to
// 1.3.20 has: a later or a patched xl2tpd may have them.
func keyFault(kind string, k xl2tpdconf.Key) message.Text {
	rule, ok := keyRules[k.Name]
	folded := xl2tpdconf.Fold(k.Name)
	_, spaced := keyRules[folded]
	switch {
	case !ok && spaced:
		return message.Sprintf("'%s' is written %s; put one space between its words", folded, xl2tpdconf.Quote(k.Name))
	case !ok:
		return ""
	case !strings.Contains(rule.sections, kind):
		return message.Sprintf("'%s' does not belong in a [%s] section", k.Name, kind)
	}
	if fault := rule.fault(k.Value); fault != "" {
		return badValue(k, fault)
	}
	return ""
}

func badValue(k xl2tpdconf.Key, fault message.Text) message.Text {
	return message.Sprintf("'%s' is %s, %s", k.Name, xl2tpdconf.Quote(k.Value), fault)
}

func anything(string) message.Text { return "" }

func something(value string) message.Text {
	if value == "" {
		return "must not be empty"
	}
	return ""
}

func yesOrNo(value string) message.Text {
	if _, ok := xl2tpdconf.Bool(value); !ok {
		return "must be 'yes' or 'no'"
	}
	return ""
}

func atLeast(n int) func(string) message.Text {
	return func(value string) message.Text {
		if atoi(value) < n {
			return message.Sprintf("must be a number of at least %d", n)
		}
		return ""
	}
}

// randSource checks a value as set_rand_source (file.c) does, which compares three letters.
func randSource(value string) message.Text {
	if !strings.HasPrefix(value, "dev") && !strings.HasPrefix(value, "sys") {
		return "must be 'dev' or 'sys'"
	}
	return ""
}

// knownHost refuses values that no host can look up. Only xl2tpd's host knows whether a name exists.
func knownHost(value string) message.Text {
	if !mayBeHost(value) {
		return "must be an address or a host name, with nothing behind it"
	}
	return ""
}

func mayBeHost(value string) bool {
	if numeric(value) {
		_, ok := ParseAddr(value)
		return ok
	}
	return value != "" && !strings.ContainsFunc(value, neverInName)
}

// locals maps the LNS sections to their key `local ip` or `local ip range`. xl2tpd takes only one of
// the two in a section (file.c, set_localaddr).
type locals map[string]string

func (l locals) fault(in xl2tpdconf.Section, k xl2tpdconf.Key) message.Text {
	if in.Kind != "lns" || k.Name != "local ip" && k.Name != "local ip range" {
		return ""
	}
	id := xl2tpdconf.Lower(in.Name)
	if id == "" {
		id = strconv.Itoa(in.Line) // each header without a name is a section of its own
	}
	if before, ok := l[id]; ok && before != k.Name {
		return message.Sprintf("'%s' and '%s' exclude each other; remove one", k.Name, before)
	}
	l[id] = k.Name
	return ""
}
