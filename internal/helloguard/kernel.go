package helloguard

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// tryKernel finds out what of the rules this kernel takes besides those that the guard needs.
func (r *rules) tryKernel() {
	r.notesSenders = r.takes(func(try *rules) (*nftables.Set, [][]expr.Any) {
		try.notesSenders = true
		return try.senders, try.noteSender()
	})
	r.paces = r.takes(func(try *rules) (*nftables.Set, [][]expr.Any) {
		try.paces = true
		return try.rates, [][]expr.Any{try.paced()}
	})
}

// takes reports whether the kernel takes a set and rules, in a table that does not stay.
func (r *rules) takes(some func(*rules) (*nftables.Set, [][]expr.Any)) bool {
	try := newRules()
	try.table.Name += "_try"
	try.want = map[string]int{}
	return r.kernel.change(func(c *nftables.Conn) error {
		c.AddTable(try.table)
		set, bodies := some(try)
		if err := addSet(c, set, nil); err != nil {
			return err
		}
		try.addChain(c, nftables.Chain{Name: sent}, bodies...)
		c.DelTable(try.table)
		return nil
	}) == nil
}
