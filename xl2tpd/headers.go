package xl2tpd

import (
	"errors"
	"io/fs"

	"xl2tpd-keepalive/xl2tpd/conf"
)

// networkManagersLAC is the one section of every file that NetworkManager-l2tp writes.
const networkManagersLAC = "l2tp"

// Headers returns the headers of the sections that the instances with that file have, or with an
// empty path all of them. known is false if a file can't be read, or there is none.
func (s Snapshot) Headers(path string) (all []conf.Header, known bool) {
	for _, i := range s.Instances {
		switch {
		case path != "" && i.Path != path && (i.Conf == nil || i.Conf.Path != path):
		case i.Conf != nil:
			all, known = append(all, i.Conf.Headers()...), true
		case i.NetworkManager():
			all = append(all, conf.Header{Kind: "lac", Name: networkManagersLAC})
		case i.Runs() || !errors.Is(i.ConfErr, fs.ErrNotExist):
			return nil, false
		}
	}
	return all, known
}

// Headers returns the headers of the file's sections.
func (c *Conf) Headers() []conf.Header {
	var all []conf.Header
	for _, s := range c.Sections {
		all = append(all, conf.Header{Kind: s.Kind, Name: s.Name})
	}
	return all
}
