package ppp

import (
	"cmp"
	"slices"
)

// view is the result of one look.
type view struct {
	links []Link // by index
	// strangers are the indexes of PPP devices whose pppd is not known.
	strangers []int
}

// look reads the whole state once.
func look(k *kernel, o *owners) (view, error) {
	devices, err := k.devices()
	if err != nil {
		return view{}, err
	}
	if len(devices) == 0 {
		o.of(nil)
		return view{}, nil
	}
	addresses, err := k.addresses()
	if err != nil {
		return view{}, err
	}
	return join(devices, addresses, o.of(devices)), nil
}

// join combines the devices, the addresses and the pppds of the devices (by
// index) to links.
func join(devices []device, addresses []address, pppds map[int]process) view {
	first := make(map[int]address, len(addresses)) // the one that pppd has set
	for _, a := range addresses {
		if _, ok := first[a.index]; !ok {
			first[a.index] = a
		}
	}
	var v view
	for _, d := range devices {
		p, ok := pppds[d.index]
		if !ok {
			v.strangers = append(v.strangers, d.index)
			continue
		}
		if !p.belongs() {
			continue
		}
		l := Link{
			Name: d.name, Index: d.index, Raised: d.up,
			Pid: p.pid, Xl2tpdPid: p.parent, Started: p.started,
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
