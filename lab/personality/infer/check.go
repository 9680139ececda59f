package infer

import (
	"fmt"
	"time"

	"xl2tpd-keepalive/lab/lns/l2tp"
	"xl2tpd-keepalive/lab/personality/capture"
)

// Check feeds a router of that personality with what the client sent. It returns what that would have done otherwise than
// the router did, and how many packets the router sent. Differences before a time are left out. What is chance,
// such as which of two Hellos that met came first, is as in the capture.
func Check(b l2tp.Behaviour, c *capture.Connection, from time.Duration) (differences []string, packets int, err error) {
	x, err := newExchange(c)
	if err != nil {
		return nil, 0, err
	}
	measure([]*exchange{x})
	x.jitter = max(x.jitter, noticeable)
	differences = x.otherNames(b)
	for _, d := range x.align(x.replay(b)).differences() {
		if d.at().Sub(x.begin) >= from {
			differences = append(differences, x.describe(d))
		}
	}
	return differences, len(x.out), nil
}

// otherNames says in what the router calls itself otherwise.
func (x *exchange) otherNames(b l2tp.Behaviour) []string {
	for _, m := range x.timed {
		if m.Type() != l2tp.SCCRP {
			continue
		}
		name, _ := m.Find(l2tp.AVPHostName)
		vendor, _ := m.Find(l2tp.AVPVendorName)
		window, ok := m.Find16(l2tp.AVPReceiveWindow)
		if !ok {
			window = l2tp.Defaults().ReceiveWindow
		}
		if string(name) == b.HostName && string(vendor) == b.Vendor && window == b.ReceiveWindow {
			return nil
		}
		return []string{fmt.Sprintf("%s has host name %q, vendor %q and window %d", x.where(m), name, vendor, window)}
	}
	return nil
}
