package ppp

import (
	"cmp"
	"slices"
)

// state is the result of one look.
type state struct {
	links []Link // by index
	// unowned are the indexes of PPP devices whose pppd is not known.
	unowned []int
}

// readState reads the whole state once.
func readState(k *kernel, o *pppdFinder) (state, error) {
	devices, err := k.devices()
	if err != nil {
		return state{}, err
	}
	if len(devices) == 0 {
		o.find(nil)
		return state{}, nil
	}
	addresses, err := k.addresses()
	if err != nil {
		return state{}, err
	}
	return combine(devices, addresses, o.find(devices)), nil
}

// combine joins the devices, the addresses and the pppds of the devices (by
// index) to links.
func combine(devices []device, addresses []address, pppds map[int]pppd) state {
	first := make(map[int]address, len(addresses)) // the one that pppd has set
	for _, a := range addresses {
		if _, ok := first[a.index]; !ok {
			first[a.index] = a
		}
	}
	var v state
	for _, d := range devices {
		p, ok := pppds[d.index]
		if !ok {
			v.unowned = append(v.unowned, d.index)
			continue
		}
		if !p.ofXl2tpd() {
			continue
		}
		l := Link{
			Name: d.name, Index: d.index, Raised: d.up,
			Pid: p.Pid, Xl2tpdPid: p.parent, Started: p.started,
			OptFile: p.args.optFile, OuterPeer: p.args.ipparam, TTY: p.args.tty,
		}
		if a, ok := first[d.index]; ok {
			l.Local, l.Peer = a.local, a.peer
			l.Up = d.up
		}
		v.links = append(v.links, l)
	}
	slices.SortFunc(v.links, func(a, b Link) int { return cmp.Compare(a.Index, b.Index) })
	return v
}
