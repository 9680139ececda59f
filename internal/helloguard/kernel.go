package helloguard

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// tryKernel finds out what of the rules this kernel takes besides those that the guard needs.
func (r *rules) tryKernel() {
	r.tellsSenders = takes(func(try *rules) (*nftables.Set, [][]expr.Any) {
		try.tellsSenders = true
		return try.senders, try.noteSender()
	})
	r.paces = takes(func(try *rules) (*nftables.Set, [][]expr.Any) {
		try.paces = true
		return try.rates, [][]expr.Any{try.paced()}
	})
}

// takes reports whether the kernel takes a set and rules, in a table that does not stay.
func takes(some func(*rules) (*nftables.Set, [][]expr.Any)) bool {
	r := newRules()
	r.table.Name += "_try"
	r.want = map[string]int{}
	c, err := nftables.New()
	if err != nil {
		return false
	}
	c.AddTable(r.table)
	set, bodies := some(r)
	if addSet(c, set, nil) != nil {
		return false
	}
	r.addChain(c, nftables.Chain{Name: sent}, bodies...)
	c.DelTable(r.table)
	return flush(c) == nil
}
