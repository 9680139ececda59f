package xl2tpd

import (
	"errors"
	"io/fs"

	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// networkManagersLAC is the name of the only section in the files that NetworkManager-l2tp writes.
const networkManagersLAC = "l2tp"

// Headers returns the section headers of the instances with that file; with an empty path, of all
// instances. known is false if a file can't be read or does not exist.
func (s Snapshot) Headers(path string) (all []xl2tpdconf.Header, known bool) {
	for _, i := range s.Instances {
		switch {
		case path != "" && i.Path != path && (i.Conf == nil || i.Conf.Path != path):
		case i.Conf != nil:
			all, known = append(all, i.Conf.Headers()...), true
		case i.NetworkManager():
			all = append(all, xl2tpdconf.Header{Kind: "lac", Name: networkManagersLAC})
		case i.Runs() || !errors.Is(i.ConfErr, fs.ErrNotExist):
			return nil, false
		}
	}
	return all, known
}

// Headers returns the headers of the file's sections.
func (c *Conf) Headers() []xl2tpdconf.Header {
	var all []xl2tpdconf.Header
	for _, s := range c.Sections {
		all = append(all, xl2tpdconf.Header{Kind: s.Kind, Name: s.Name})
	}
	return all
}
