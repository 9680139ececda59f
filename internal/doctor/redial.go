package doctor

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/ppp/options"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

const controlSocket = "xl2tpd-keepalive-control.socket"

// recovery checks whether the service can reach the helper that writes to xl2tpd's
// control pipes. A service that runs as root writes to them itself.
func (c *checker) recovery() []Finding {
	const check = "recovery"
	if c.confErr != nil && !errors.Is(c.confErr, fs.ErrNotExist) {
		return nil
	}
	var lacs []string
	var all []Finding
	for i, s := range c.lacs {
		if !c.recovers(i, s) {
			continue
		}
		if err := xl2tpd.CheckLAC(s.Name); err != nil && s.Name != "default" {
			all = append(all, bad(check, "", message.Sprintf("not possible: %v", err), renamed))
			continue
		}
		lacs = append(lacs, s.Name)
	}
	if lacs == nil {
		return all
	}
	state, err := c.Unit(c.ctx, controlSocket)
	uid, _ := procfs.User([]byte(c.process())) // 0 too if it does not run
	switch {
	case err != nil:
		return append(all, unknown(check, "", message.TextOf(err)))
	case uid != 0 && !strings.HasPrefix(state, "active"):
		is := message.Data(state)
		if state == "" {
			is = "not installed"
		}
		return append(all, bad(check, "", message.Sprintf("%s is %s: no LAC can be dialled or hung up", controlSocket, is),
			command("systemctl start "+controlSocket)))
	}
	return append(all, good(check, "", "of %s", strings.Join(lacs, ", ")))
}

// lacs yields the LACs of every xl2tpd but those of NetworkManager, which dials by itself.
func (c *checker) lacs(yield func(xl2tpd.Instance, xl2tpd.Section) bool) {
	for _, i := range c.seen.Instances {
		if i.Conf == nil || i.NetworkManager() {
			continue
		}
		for _, s := range i.Conf.Sections {
			if s.Kind == "lac" && !yield(i, s) {
				return
			}
		}
	}
}

// recovers reports whether the service brings a LAC back.
func (c *checker) recovers(i xl2tpd.Instance, s xl2tpd.Section) bool {
	return c.conf != nil && c.conf.For(i.Path, s.Kind, s.Name).Recovery(s.Autodial || s.Redial) != config.RecoverOff
}

// redialOwners looks for all programs that dial. Two of them hang up each other's
// tunnels.
func (c *checker) redialOwners() []Finding {
	const check = "redialling"
	owners, remedy := c.configuredToDial()
	sure, perhaps := c.dialers()
	owners = append(owners, sure...)
	slices.SortFunc(owners, func(a, b message.Text) int { return strings.Compare(a.String(), b.String()) })
	owners = slices.Compact(owners)
	others := may(perhaps)
	switch {
	case len(owners) == 0 && slices.ContainsFunc(c.seen.Instances, elsewhere):
		return []Finding{unknown(check, "", message.Sprintf("nobody here; who dials in the container can't be seen from here%s", others))}
	case len(owners) == 0 && slices.ContainsFunc(c.seen.Instances, xl2tpd.Instance.NetworkManager):
		return []Finding{good(check, "", "nobody but NetworkManager%s", others)}
	case len(owners) == 0 && !slices.ContainsFunc(c.seen.Instances, func(i xl2tpd.Instance) bool { return i.Conf != nil }):
		return []Finding{unknown(check, "", message.Sprintf("no xl2tpd.conf can be read%s", others))}
	case len(owners) == 0:
		return []Finding{good(check, "", "nobody: tunnels are dialled by hand%s", others)}
	case len(owners) == 1:
		return []Finding{good(check, "", "%s alone%s", owners[0], others)}
	}
	return []Finding{bad(check, "", message.Sprintf("%s: they hang up each other's tunnels%s", message.Join(owners, "%s, %s"), others),
		slices.Compact(remedy)...)}
}

// configuredToDial returns which of xl2tpd, its pppds and the service dial by their configuration, and what to do if
// there are several.
func (c *checker) configuredToDial() (owners, remedy []message.Text) {
	var dials message.Text
	remedy = []message.Text{"keep one of them; `redial = yes` in xl2tpd.conf is enough"}
	for i, s := range c.lacs {
		switch { // the service does not dial a LAC that xl2tpd redials
		case s.Redial:
			dials = message.Data("xl2tpd (redial = yes)")
		case dials == "" && c.recovers(i, s):
			dials = message.Data("xl2tpd-keepalive (recover)")
		}
		if o, ok := c.persist(s); ok {
			owners = append(owners, message.Sprintf("pppd (%s in %s:%d)", o.Name, o.Path, o.Line))
			if i.Runs() {
				remedy = append(remedy, whenIdle(c.restart(i)))
			}
		}
	}
	if dials != "" {
		owners = append(owners, dials)
	}
	return owners, remedy
}

// may describes the scripts that dial if a program starts them.
func may(scripts []message.Text) message.Text {
	if len(scripts) == 0 {
		return ""
	}
	return message.Sprintf("; %s may do so too, if anybody starts it", message.Join(scripts, "%s, %s"))
}

// persist returns the option that makes a section's pppd dial by itself; ok is false if there is none.
func (c *checker) persist(s xl2tpd.Section) (by options.Option, ok bool) {
	return options.Persist(c.pppOptions(s))
}

// pppOptions returns the options of a section's pppd; if one is wrong, those before it.
func (c *checker) pppOptions(s xl2tpd.Section) []options.Option {
	all, _ := options.Of(func(path string) ([]byte, error) { return xl2tpdconf.Read(c.path(path)) }, s.PPPOptFile)
	return all
}
