// Package clamp finds firewall rules that lower the maximum segment size (MSS) of forwarded TCP connections.
//
// Such a rule changes the SYN of a host behind this one. The other end then sends no segment that is too long for a
// tunnel. The package reads the rules of nf_tables, where iptables-nft has its own too, and those of the older iptables.
package clamp

import (
	"slices"
	"strings"

	"xl2tpd-keepalive/internal/message"
)

// Rule is a rule that clamps the MSS of what leaves by an interface.
type Rule struct {
	Where   string `json:"where"`             // table and chain, for the operator
	MSS     int    `json:"mss,omitempty"`     // 0: what the MTU of the route allows
	Limited bool   `json:"limited,omitempty"` // it has further conditions, such as addresses
}

// Fits reports whether the rule keeps each segment within that MTU. The interface has to have that MTU itself.
func (r Rule) Fits(mtu int) bool { return !r.Limited && r.MSS <= MSS(mtu) }

func (r Rule) String() string { return r.Text().String() }

// Text says to what and by what the rule clamps.
func (r Rule) Text() message.Text {
	text := message.Sprintf("to the MTU of the route by %s", r.Where)
	if r.MSS > 0 {
		text = message.Sprintf("to %d by %s", r.MSS, r.Where)
	}
	if r.Limited {
		text = message.Sprintf("%s, for some connections only", text)
	}
	return text
}

// MSS returns the longest segment that an MTU has room for.
func MSS(mtu int) int { return mtu - tcpHeaders }

// tcpHeaders is the length of the headers of IPv4 and TCP, without options.
const tcpHeaders = 40

// rule is one rule of a chain, as far as it matters here.
type rule struct {
	in, out device
	limited bool
	jump    string // the chain where it goes on; empty: none
	clamps  bool
	mss     int // 0: of the route
}

// device is a condition on an interface; the zero value admits each.
type device struct {
	name   string // with a * at its end: any name that begins so; empty: no condition
	except bool   // each but this one
}

func (d device) admits(link string) bool {
	if d.name == "" {
		return true
	}
	is := d.name == link
	if prefix, wild := strings.CutSuffix(d.name, "*"); wild {
		is = strings.HasPrefix(link, prefix)
	}
	return is != d.except
}

// ruleset are the chains of one table.
type ruleset struct {
	table  string
	bases  []string // chains that forwarded packets enter by themselves
	chains map[string][]rule
}

// maxJumps is how deep the kernel follows jumps (NFT_JUMP_STACK_SIZE).
const maxJumps = 16

// find returns the rules that clamp what leaves by an interface.
func (r ruleset) find(link string) (found []Rule) {
	for _, base := range r.bases {
		found = append(found, r.walk(base, base, link, false, 0)...)
	}
	return slices.Compact(found)
}

func (r ruleset) walk(base, chain, link string, limited bool, depth int) (found []Rule) {
	if depth == maxJumps {
		return nil
	}
	for _, one := range r.chains[chain] {
		switch {
		case !one.out.admits(link), one.in.name != "" && !one.in.except && one.in.admits(link):
			// The rule is about other packets: what comes in through a tunnel does not leave through the same one.
		case one.clamps:
			where := r.table + " " + base
			if chain != base {
				where += ", " + chain
			}
			found = append(found, Rule{Where: where, MSS: one.mss, Limited: limited || one.limited})
		case one.jump != "":
			found = append(found, r.walk(base, one.jump, link, limited || one.limited, depth+1)...)
		}
	}
	return found
}
