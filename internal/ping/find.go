package ping

import (
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
)

// FindTunnel finds a tunnel that has a link, by any of its names. Its errors list the tunnels.
func FindTunnel(all []status.Tunnel, name string) (*status.Tunnel, error) {
	var found []*status.Tunnel
	for i := range all {
		if all[i].Called(name) {
			found = append(found, &all[i])
		}
	}
	switch {
	case len(all) == 0:
		return nil, message.Errorf("there is no tunnel (xl2tpd-keepalive doctor looks for the reason)")
	case len(found) == 0:
		return nil, message.Errorf("there is no tunnel %q: name one of %s", status.Printable(name), list(pointers(all)))
	case len(found) > 1:
		return nil, message.Errorf("%q is not one tunnel alone: name one of %s by its pppN", status.Printable(name), list(found))
	case found[0].Link == nil || !found[0].Link.Remote.IsValid():
		return nil, message.Errorf("%s has no link now, so there is nothing to ping: %s (xl2tpd-keepalive status)",
			found[0].Title(), found[0].Doing)
	}
	return found[0], nil
}

// list names tunnels in one line.
func list(tunnels []*status.Tunnel) message.Text {
	var all []message.Text
	for _, t := range tunnels {
		link := message.Text("no link")
		if t.Link != nil {
			link = message.Data(status.Printable(t.Link.Name))
		}
		all = append(all, message.Sprintf("%s, %s", t.Title(), link))
	}
	return message.Join(all, "%s; %s")
}

func pointers(all []status.Tunnel) (p []*status.Tunnel) {
	for i := range all {
		p = append(p, &all[i])
	}
	return p
}
