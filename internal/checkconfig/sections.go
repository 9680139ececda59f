package checkconfig

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// sections compares the sections of the two files, and checks whether each LAC can be dialled.
func (r *round) sections() {
	for _, line := range r.config.Unknown(r.headers()) {
		r.problem(line)
	}
	for _, s := range r.xl2tpd.Sections {
		if fault := s.LNSFault(); fault != "" {
			r.problem(message.Sprintf("%s:%d: [lac %s] can't be dialled: %s", r.xl2tpd.Path, s.LNSLine, s.Name, fault))
		}
		if s.Kind != "lac" || s.Name == "default" || r.config.For(r.xl2tpd.Path, "lac", s.Name).Recover == config.RecoverOff {
			continue
		}
		if err := xl2tpd.CheckLAC(s.Name); err != nil {
			r.warn(message.Sprintf("%s:%d: recover can't help: %v", r.xl2tpd.Path, s.Line, err))
		}
	}
}

// headers returns a function that returns the sections of xl2tpd's files: those of the file that was
// read. If that is the host's own, also those of the running xl2tpds.
func (r *round) headers() func(path string) ([]xl2tpdconf.Header, bool) {
	host := xl2tpd.Snapshot{Instances: []xl2tpd.Instance{{Conf: r.xl2tpd}}}
	if r.files.Xl2tpd == "" {
		for _, d := range xl2tpd.Daemons() {
			host.Instances = append(host.Instances, xl2tpd.Instance{Process: d.ID, Conf: d.Conf})
		}
	}
	return func(path string) ([]xl2tpdconf.Header, bool) {
		if path == "" {
			all, known := host.Headers("")
			if !known {
				r.warn("section names can't be compared: the file of an xl2tpd that runs can't be read")
			}
			return all, known
		}
		other, err := xl2tpd.ReadConf(path)
		if err != nil {
			r.warn(message.TextOf(err))
			return nil, errors.Is(err, fs.ErrNotExist) // then no section for that file has an effect
		}
		return other.Headers(), true
	}
}

// tooRare returns warnings about echo requests that are too rare for a far end, if the running service knows its vendor.
func tooRare(c *config.Config) (lines []message.Text) {
	r, err := status.Read(context.Background(), status.DefaultSocket)
	if err != nil {
		return nil
	}
	for _, t := range r.Tunnels {
		kind, section, _ := strings.Cut(t.Name, " ")
		path := ""
		if filepath.IsAbs(t.Instance) {
			path = t.Instance
		}
		if text := c.For(path, kind, section).TooRare(); t.Yamaha() && text != "" {
			lines = append(lines, message.Sprintf("[%s] %s", t.Name, text))
		}
	}
	return lines
}
