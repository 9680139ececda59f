package bundle

import (
	"regexp"
	"strings"
)

// ipsecKeys are keys of ipsec.conf with values that may be shown.
var ipsecKeys = set(`
	left right leftid rightid leftsubnet rightsubnet leftprotoport rightprotoport leftauth rightauth leftcert rightcert
	leftca rightca leftfirewall rightfirewall leftsourceip rightsourceip leftdns rightdns leftikeport rightikeport
	leftsendcert rightsendcert leftnexthop rightnexthop leftgroups rightgroups leftupdown rightupdown leftid2 rightid2
	leftallowany rightallowany type auto also keyexchange ike esp ah ikelifetime lifetime keylife lifebytes lifepackets
	rekey reauth rekeymargin margintime rekeyfuzz keyingtries dpdaction dpddelay dpdtimeout forceencaps authby aggressive
	compress fragmentation mobike modeconfig closeaction installpolicy inactivity mark mark_in mark_out reqid
	replay_window tfc eap_identity xauth xauth_identity charondebug uniqueids strictcrlpolicy cachecrls dictated
	virtual_private nat_traversal protostack interfaces plutodebug klipsdebug oe pfs sha2-truncbug ikev2 ike_frag encapsulation
`)

var ipsecSection = regexp.MustCompile(`^(conn|config|ca)\s+(\S+)$`)

// ipsecConf redacts ipsec.conf of strongSwan or Libreswan.
func ipsecConf(text string) string {
	return eachLine(text, func(line string) string {
		line, comment, commented := strings.Cut(line, "#")
		indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
		line = strings.TrimSpace(line)
		key, value, isKey := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		shown := ""
		switch {
		case line == "":
			indent = ""
		case ipsecSection.MatchString(line), strings.HasPrefix(line, "version "), strings.HasPrefix(line, "include "):
			shown = line
		case isKey:
			shown = keyValue(key, "=", value, ipsecKeys)
		default:
			shown = removed
		}
		if commented && strings.TrimSpace(comment) != "" {
			shown += " # " + removed
		}
		return strings.TrimRight(indent+strings.TrimSpace(shown), " \t")
	})
}

// swanctlKeys are keys of swanctl.conf and strongswan.conf with values that may be shown.
var swanctlKeys = set(`
	version local_addrs remote_addrs local_port remote_port proposals vips aggressive pull dscp encap mobike dpd_delay
	dpd_timeout fragmentation childless send_certreq send_cert ppk_id ppk_required keyingtries unique reauth_time
	rekey_time over_time rand_time pools if_id_in if_id_out mediation tcp round auth id eap_id aaa_id xauth_id revocation
	certs cert cacerts cacert file esp_proposals ah_proposals local_ts remote_ts rekey_bytes rekey_packets life_time
	life_bytes life_packets rand_bytes rand_packets updown hostaccess mode policies policies_fwd_out dpd_action ipcomp
	inactivity reqid priority interface mark_in mark_out set_mark_in set_mark_out start_action close_action trap_action
	replay_window hw_offload copy_df copy_ecn copy_dscp addrs dns nbns subnet split_include load port port_nat_t
	retransmit_tries retransmit_timeout retransmit_base retransmit_jitter retransmit_limit install_routes
	install_virtual_ip interfaces_use interfaces_ignore filelog syslog path append flush_line time_format ike_name
	dh_exponent_ansi_x9_42 make_before_break delete_rekeyed socket threads
`)

var (
	bareWord = regexp.MustCompile(`^[A-Za-z0-9_%.-]+$`)
	amount   = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?[smhdKMG]?$`)
)

// swanctl redacts swanctl.conf and strongswan.conf. A file is sections in braces and keys, on as many lines as one likes.
// Sections called secrets lose all their content.
func swanctl(text string) string {
	w := settings{rest: text}
	for w.next() {
	}
	return w.out.String()
}

// settings is a file in strongSwan's format that is being redacted.
type settings struct {
	rest   string
	out    strings.Builder
	depth  int
	secret int // the depth of the section that is secret; 0: none
}

// next takes one statement.
func (s *settings) next() bool {
	s.rest = strings.TrimLeft(s.rest, " \t\r\n")
	if s.rest == "" {
		return false
	}
	switch s.rest[0] {
	case '#':
		line, rest, _ := strings.Cut(s.rest, "\n")
		s.rest = rest
		if strings.Trim(line, "# \t\r") != "" {
			s.line("# " + removed)
		}
		return true
	case '}':
		s.rest = s.rest[1:]
		s.depth = max(0, s.depth-1)
		if s.depth < s.secret {
			s.secret = 0
			s.line("  " + removed)
		}
		s.line("}")
		return true
	}
	word := s.until("{}=#\n")
	switch {
	case strings.HasPrefix(s.rest, "{"):
		s.rest = s.rest[1:]
		s.open(word)
	case strings.HasPrefix(s.rest, "="):
		s.rest = s.rest[1:]
		s.key(word, s.value())
	case strings.HasPrefix(word, "include "):
		s.line(word)
	default:
		s.line(removed)
	}
	return true
}

// line writes a line, unless it is in a section that is secret.
func (s *settings) line(text string) {
	if s.secret == 0 {
		s.out.WriteString(strings.Repeat("  ", s.depth) + text + "\n")
	}
}

// open begins a section. A reference to another section may follow its name.
func (s *settings) open(name string) {
	name, _, _ = strings.Cut(name, ":")
	name = strings.TrimSpace(name)
	if !bareWord.MatchString(name) {
		name = removed
	}
	s.line(name + " {")
	s.depth++
	if s.secret == 0 && strings.HasPrefix(strings.ToLower(name), "secret") {
		s.secret = s.depth
	}
}

func (s *settings) key(key, value string) {
	known := swanctlKeys
	if plain[value] || amount.MatchString(value) { // strongswan.conf has hundreds of keys for such values
		known = map[string]bool{key: bareWord.MatchString(key) && len(key) < 30}
	}
	s.line(keyValue(key, " = ", value, known))
}

// value takes a value: up to the end of the line, a comment or a brace, or what is in quotes.
func (s *settings) value() string {
	s.rest = strings.TrimLeft(s.rest, " \t")
	if strings.HasPrefix(s.rest, `"`) {
		end := 1
		for end < len(s.rest) && s.rest[end] != '"' {
			if s.rest[end] == '\\' {
				end++
			}
			end++
		}
		end = min(end+1, len(s.rest))
		value := s.rest[:end]
		s.rest = s.rest[end:]
		return value
	}
	return s.until("#}\n")
}

// until takes what is before the next one of these characters, without the blanks around it.
func (s *settings) until(any string) string {
	at := strings.IndexAny(s.rest, any)
	if at < 0 {
		at = len(s.rest)
	}
	text := strings.TrimSpace(s.rest[:at])
	s.rest = s.rest[at:]
	return text
}
