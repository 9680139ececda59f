package helloguard

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"xl2tpd-keepalive/internal/l2tp"
)

// Filter is a base chain of nf_tables that may drop packets. iptables has its chains there too, unless it is the old one.
type Filter struct{ Family, Table, Chain string }

// A Way is one half of the way from the guard to xl2tpd, on this host.
type Way struct {
	hooks             []nftables.ChainHook
	iptables, nft     string // how each of them names the interface
	chainOfOldFilters string
}

// The ways. Each has the hooks in which a drop is reported as that error.
var (
	Outwards = Way{[]nftables.ChainHook{*nftables.ChainHookOutput, *nftables.ChainHookPostrouting}, "-o", "oif", "OUTPUT"} // ErrBlockedOutput
	Inwards  = Way{[]nftables.ChainHook{*nftables.ChainHookPrerouting, *nftables.ChainHookInput}, "-i", "iif", "INPUT"}    // ErrBlockedInput
)

// families are those whose chains see IPv4 packets.
var families = map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "ip", nftables.TableFamilyINet: "inet"}

// Filters returns the base chains on a way, but for those of NAT, that may drop packets. Only root may read them.
func (w Way) Filters() ([]Filter, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("nf_tables: %w", err)
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, fmt.Errorf("nf_tables: chains: %w", err)
	}
	var all []Filter
	for _, chain := range chains {
		family, ok := families[chain.Table.Family]
		switch {
		case !ok, strings.HasPrefix(chain.Table.Name, TableName), chain.Type == nftables.ChainTypeNAT:
		case chain.Hooknum == nil || !slices.Contains(w.hooks, *chain.Hooknum):
		default:
			drops, err := mayDrop(c, chain, map[string]bool{})
			if err != nil {
				return nil, fmt.Errorf("nf_tables: rules of %s: %w", chain.Name, err)
			}
			if drops {
				all = append(all, Filter{family, chain.Table.Name, chain.Name})
			}
		}
	}
	return all, nil
}

// mayDrop reports whether a chain drops or rejects some packets. It also looks at maps, and at the chains where this one
// goes on, but for those that were seen already.
func mayDrop(c *nftables.Conn, chain *nftables.Chain, seen map[string]bool) (bool, error) {
	if chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop {
		return true, nil
	}
	seen[chain.Name] = true
	rules, err := c.GetRules(chain.Table, chain)
	if err != nil {
		return false, err
	}
	for _, rule := range rules {
		for _, e := range rule.Exprs {
			if dropsItself(e) {
				return true, nil
			}
			v, ok := e.(*expr.Verdict)
			if !ok || v.Chain == "" || seen[v.Chain] {
				continue
			}
			if drops, err := mayDrop(c, &nftables.Chain{Table: chain.Table, Name: v.Chain}, seen); drops || err != nil {
				return drops, err
			}
		}
	}
	return false, nil
}

// dropsItself reports whether an expression drops or rejects packets, or has a map decide about them.
func dropsItself(e expr.Any) bool {
	switch e := e.(type) {
	case *expr.Verdict:
		return e.Kind == expr.VerdictDrop
	case *expr.Target:
		return e.Name == "REJECT" || e.Name == "DROP"
	case *expr.Lookup:
		return e.IsDestRegSet && e.DestRegister == 0 // the register of verdicts
	case *expr.Reject:
		return true
	}
	return false
}

// Accept returns the command that lets the guard's answers through a filter. Their port is "dport" or "sport". The rule
// is about lo only: the filter still decides about L2TP to a peer.
func (w Way) Accept(f Filter, port string) string {
	if tables := []string{"filter", "mangle", "raw", "security"}; f.Family == "ip" && slices.Contains(tables, f.Table) && f.Chain == strings.ToUpper(f.Chain) {
		table := ""
		if f.Table != "filter" {
			table = "-t " + f.Table + " "
		}
		return fmt.Sprintf("iptables %s-I %s 1 %s lo -p udp --%s %d -j ACCEPT", table, f.Chain, w.iptables, port, l2tp.Port)
	}
	return fmt.Sprintf("nft insert rule %s %s %s %s lo udp %s %d accept", f.Family, f.Table, f.Chain, w.nft, port, l2tp.Port)
}

// OldFilter is the filter of iptables as it was before nf_tables.
func (w Way) OldFilter() Filter { return Filter{"ip", "filter", w.chainOfOldFilters} }
