package translator

import (
	"net/netip"

	"xl2tpd-keepalive/internal/l2tp"
)

// reply is the Verdict in the making, with room for what it injects.
type reply struct {
	Verdict
	inject  [maxInject]Injection
	buffers [maxInject][l2tp.MaxInjectLen]byte
}

func (r *reply) begin(action Action) { r.Verdict = Verdict{Action: action, Inject: r.inject[:0]} }

func (r *reply) pass(why Reason) *Verdict {
	r.Action, r.Reason = Pass, why
	return &r.Verdict
}

func (r *reply) drop(why Reason) *Verdict {
	r.Action, r.Reason = Drop, why
	return &r.Verdict
}

// forward lets p through with these numbers.
func (r *reply) forward(p *l2tp.Packet, ns, nr uint16) *Verdict {
	if ns != p.Msg.Ns || nr != p.Msg.Nr {
		p.SetSeq(ns, nr)
		r.Action, r.Packet = Rewrite, p.Raw()
	}
	return &r.Verdict
}

// full reports whether nothing more can be injected.
func (r *reply) full() bool { return len(r.Inject) == maxInject }

func (r *reply) send(to Side, src, dst netip.AddrPort, m l2tp.Message) {
	if r.full() {
		return
	}
	b := l2tp.AppendPacket(r.buffers[len(r.Inject)][:0], src, dst, m)
	r.Inject = append(r.Inject, Injection{To: to, Packet: b})
}
