package bundle

import (
	"regexp"
	"strings"
)

// removed stands where something was taken out.
const removed = "(removed)"

// A redactor returns a configuration file as far as it is known to be harmless. It shows what it knows and nothing else:
// no unknown key, and no comment, because people keep passwords there.
type redactor func(text string) string

// set makes a set of words.
func set(words string) map[string]bool {
	all := map[string]bool{}
	for _, w := range strings.Fields(words) {
		all[w] = true
	}
	return all
}

// plain is a value that is no secret whatever its key is: a switch.
var plain = set("yes no on off true false 0 1 none never default auto")

// xl2tpdKeys are keys of xl2tpd.conf and of keepalive.conf with values that may be shown. Underscores join the words of a
// key.
var xl2tpdKeys = set(`
	port saref_refinfo max_retries cap_backoff access_control force_userspace ipsec_saref debug_avp debug_network
	debug_packet debug_state debug_tunnel auth_file rand_source listen-addr lns autodial redial redial_timeout max_redials
	defaultroute remote_ip ip_range no_ip_range local_ip_range lac no_lac exclusive assign_ip unix_authentication name
	hostname pppoptfile local_ip length_bit hidden_bit flow_bit ppp_debug pass_peer require_pap require_chap
	require_authentication refuse_pap refuse_chap refuse_authentication tx_bps rx_bps bps tunnel_rws call_rws
	interval timeout failures keepalive target hello_guard recover hook metrics
`)

var xl2tpdSection = regexp.MustCompile(`^\[(global|lac|lns)( [^\]]*)?\]`)

// xl2tpdConf redacts a file in the format of xl2tpd.conf.
func xl2tpdConf(text string) string {
	return eachLine(text, func(line string) string {
		line, comment, commented := strings.Cut(line, ";")
		key, value, isKey := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		var shown string
		switch section := xl2tpdSection.FindString(strings.TrimSpace(line)); {
		case section != "":
			shown = section
		case strings.TrimSpace(line) == "":
		case !isKey:
			shown = removed
		default:
			shown = keyValue(key, " = ", value, xl2tpdKeys)
		}
		if commented && strings.TrimSpace(comment) != "" {
			shown += " ; " + removed
		}
		return strings.TrimSpace(shown)
	})
}

// hiddenKeys are keys with values that are never shown. An unknown key is not shown itself: a key in base64 on a line of
// its own looks like one.
var hiddenKeys = set("password passwd secret psk challenge connect disconnect init pty welcome pin")

// named returns a key that is known.
func named(key string, known map[string]bool) string {
	if word := strings.ReplaceAll(strings.ToLower(key), " ", "_"); known[word] || hiddenKeys[word] {
		return key
	}
	return removed
}

// keyValue returns a key and its value, as far as both may be shown.
func keyValue(key, equals, value string, known map[string]bool) string {
	shown := named(key, known)
	if shown == removed || !known[strings.ReplaceAll(strings.ToLower(key), " ", "_")] && !plain[strings.ToLower(value)] {
		value = removed
	}
	return shown + equals + value
}

// eachLine redacts line by line.
func eachLine(text string, redact func(string) string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(redact(strings.TrimRight(line, "\r\n")) + "\n")
	}
	return b.String()
}

var (
	// pppFlags are options of pppd without a value.
	pppFlags = set(`
		auth noauth require-pap refuse-pap require-chap refuse-chap require-mschap refuse-mschap require-mschap-v2
		refuse-mschap-v2 require-eap refuse-eap require-mppe require-mppe-128 require-mppe-40 nomppe mppe mppe-stateful login
		defaultroute defaultroute6 replacedefaultroute nodefaultroute nodefaultroute6 usepeerdns proxyarp noproxyarp persist
		nopersist demand debug dump dryrun updetach nodetach nobsdcomp nodeflate nopcomp noaccomp noccp novj novjccomp
		noipv6 noip noipdefault ipcp-accept-local ipcp-accept-remote ipcp-no-address ipcp-no-addresses +ipv6
		lcp-echo-adaptive lock nolock crtscts nocrtscts local modem passive silent hide-password noipx noktune ktune
		nomagic noendpoint nomp multilink default-asyncmap noremoteip noresolvconf
	`)

	// pppValues are options of pppd with a value that may be shown.
	pppValues = set(`
		mtu mru mrru idle maxconnect maxfail holdoff unit kdebug lcp-echo-interval lcp-echo-failure lcp-max-configure
		lcp-max-failure lcp-max-terminate lcp-restart ipcp-max-configure ipcp-max-failure ipcp-max-terminate ipcp-restart
		chap-interval chap-max-challenge chap-restart pap-max-authreq pap-restart pap-timeout asyncmap name remotename user
		ipparam ms-dns ms-wins netmask file call logfile logfd plugin linkname ifname domain defaultroute-metric
		child-timeout pppol2tp pppol2tp_lns_mode pppol2tp_tunnel_id pppol2tp_session_id
	`)

	pppAddresses = regexp.MustCompile(`^[0-9.]*:[0-9.]*$`)
)

// pppOptions redacts an option file of pppd. Options are words, not lines, so the value of an unknown one may stand in
// the next line. Behind an unknown option or a quote, the rest of the line is removed.
func pppOptions(text string) string {
	pending := false // the first word of a line may be the value of the last one before
	return eachLine(text, func(line string) string {
		words := strings.Fields(line)
		var shown []string
		for i := 0; i < len(words); i++ {
			word := words[i]
			last := i+1 == len(words)
			switch {
			case strings.HasPrefix(word, "#"):
				return strings.Join(append(shown, "# "+removed), " ")
			case pending:
				pending = false
				return strings.Join(append(shown, removed), " ")
			case pppFlags[word], pppAddresses.MatchString(word):
				shown = append(shown, word)
			case pppValues[word] && last:
				shown, pending = append(shown, word), true
			case pppValues[word] && !strings.ContainsAny(words[i+1], `"'\#`):
				shown = append(shown, word, words[i+1])
				i++
			default:
				pending = last
				if hiddenKeys[word] {
					shown = append(shown, word)
				}
				return strings.Join(append(shown, removed), " ")
			}
		}
		return strings.Join(shown, " ")
	})
}
