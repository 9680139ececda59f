package clamp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

// nft returns the chains of each table of nf_tables that sees forwarded IPv4 packets.
func nft() ([]ruleset, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("nf_tables: %w", err)
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, fmt.Errorf("nf_tables: chains: %w", err)
	}
	tables := map[string]*ruleset{}
	var order []string
	for _, chain := range chains {
		family, ok := families[chain.Table.Family]
		if !ok {
			continue
		}
		name := family + " " + chain.Table.Name
		if tables[name] == nil {
			tables[name] = &ruleset{table: "nft table " + name + ", chain", chains: map[string][]rule{}}
			order = append(order, name)
		}
		rules, err := c.GetRules(chain.Table, chain)
		if err != nil {
			return nil, fmt.Errorf("nf_tables: rules of %s %s: %w", name, chain.Name, err)
		}
		tables[name].add(chain, rules)
	}
	var all []ruleset
	for _, name := range order {
		all = append(all, *tables[name])
	}
	return all, nil
}

// families are those whose chains see IPv4 packets that are forwarded.
var families = map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "ip", nftables.TableFamilyINet: "inet"}

func (r *ruleset) add(chain *nftables.Chain, rules []*nftables.Rule) {
	hook := chain.Hooknum // nil: only other chains lead there
	if hook != nil && (*hook == *nftables.ChainHookForward || *hook == *nftables.ChainHookPostrouting) {
		r.bases = append(r.bases, chain.Name)
	}
	r.chains[chain.Name] = []rule{}
	for _, one := range rules {
		r.chains[chain.Name] = append(r.chains[chain.Name], parse(one.Exprs))
	}
}

// tcpMSS is the kind of TCP option that has the MSS (RFC 9293, section 3.2).
const tcpMSS = 2

// parse reads the expressions of one rule.
func parse(exprs []expr.Any) (r rule) {
	var loaded expr.Any // what the latest expression has put into a register
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Cmp:
			r.compare(loaded, e)
		case *expr.Exthdr:
			if e.Op == expr.ExthdrOpTcpopt && e.Type == tcpMSS && e.SourceRegister != 0 {
				r.clamps, r.mss = true, constant(loaded)
			}
		case *expr.Target:
			r.target(e)
		case *expr.Match:
			r.limited = r.limited || e.Name != "tcp" && e.Name != "comment"
		case *expr.Lookup:
			r.limited = true
		case *expr.Verdict:
			if e.Kind == expr.VerdictJump || e.Kind == expr.VerdictGoto {
				r.jump = e.Chain
			}
		}
		switch e.(type) {
		case *expr.Bitwise, *expr.Counter, *expr.Byteorder: // they change what is loaded, or nothing
		default:
			loaded = e
		}
	}
	return r
}

// compare takes a condition on what was loaded.
func (r *rule) compare(loaded expr.Any, c *expr.Cmp) {
	switch l := loaded.(type) {
	case *expr.Meta:
		named := device{name(c.Data), c.Op == expr.CmpOpNeq}
		switch l.Key {
		case expr.MetaKeyIIFNAME:
			r.in = named
		case expr.MetaKeyOIFNAME:
			r.out = named
		case expr.MetaKeyL4PROTO, expr.MetaKeyNFPROTO, expr.MetaKeyPROTOCOL:
		default:
			r.limited = true // an index, a mark
		}
	case *expr.Payload:
		const protocol = 9 // its place in the IPv4 header
		const flags = 13   // of TCP
		network := l.Base == expr.PayloadBaseNetworkHeader && l.Offset == protocol
		transport := l.Base == expr.PayloadBaseTransportHeader && l.Offset == flags
		r.limited = r.limited || !network && !transport
	case *expr.Ct:
		r.limited = r.limited || l.Key != expr.CtKeySTATE // each connection begins with a SYN, which is new
	case *expr.Rt, *expr.Exthdr: // the MSS itself, or how large it is
	default:
		r.limited = true
	}
}

// name reads an interface's name. nft compares only the letters before a *, and else the whole field.
func name(data []byte) string {
	text, _, whole := bytes.Cut(data, []byte{0})
	if whole {
		return string(text)
	}
	return string(text) + "*"
}

// constant returns a number of two bytes that was loaded; 0: it was the route's.
func constant(loaded expr.Any) int {
	if i, ok := loaded.(*expr.Immediate); ok && len(i.Data) >= 2 {
		return int(binary.BigEndian.Uint16(i.Data))
	}
	return 0
}

// target takes a target of iptables-nft. Its TCPMSS has the MSS in two bytes; all ones mean the route's
// (XT_TCPMSS_CLAMP_PMTU).
func (r *rule) target(t *expr.Target) {
	if !strings.EqualFold(t.Name, "TCPMSS") {
		return
	}
	r.clamps = true
	if info, ok := t.Info.(*xt.Unknown); ok && len(*info) >= 2 {
		if mss := binaryutil.NativeEndian.Uint16(*info); mss != 0xffff {
			r.mss = int(mss)
		}
	}
}
