package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"xl2tpd-keepalive/config"
	"xl2tpd-keepalive/ppp/options"
	"xl2tpd-keepalive/proc"
	"xl2tpd-keepalive/xl2tpd"
	"xl2tpd-keepalive/xl2tpd/conf"
)

const controlSocket = "xl2tpd-keepalive-control.socket"

// recovery looks whether who writes to xl2tpd's control pipe for the service can be
// asked; a service that is root does so itself.
func (e *exam) recovery() []Finding {
	const check = "recovery"
	if e.confErr != nil && !errors.Is(e.confErr, fs.ErrNotExist) {
		return nil
	}
	var lacs []string
	for i, s := range e.lacs {
		if e.recovers(i, s) {
			lacs = append(lacs, s.Name)
		}
	}
	if lacs == nil {
		return nil
	}
	state, err := e.Unit(e.ctx, controlSocket)
	uid, _ := proc.User([]byte(e.process())) // 0 too if it does not run
	switch {
	case err != nil:
		return []Finding{bad(check, "", err.Error())}
	case uid != 0 && !strings.HasPrefix(state, "active"):
		if state == "" {
			state = "not installed"
		}
		return []Finding{bad(check, "", controlSocket+" is "+state+": no LAC can be dialled or hung up", "systemctl start "+controlSocket)}
	}
	return []Finding{good(check, "", "of %s", strings.Join(lacs, ", "))}
}

// lacs are the LACs of every xl2tpd but those of NetworkManager, which dials by itself.
func (e *exam) lacs(yield func(xl2tpd.Instance, xl2tpd.Section) bool) {
	for _, i := range e.seen.Instances {
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

// recovers tells whether the service brings a LAC back.
func (e *exam) recovers(i xl2tpd.Instance, s xl2tpd.Section) bool {
	return e.conf != nil && e.conf.For(i.Path, s.Kind, s.Name).Recovery(s.Autodial || s.Redial) != config.RecoverOff
}

// Where administrators put what redials.
var scripts = []string{
	"/etc/crontab", "/etc/cron.d/*", "/var/spool/cron/crontabs/*", "/etc/cron.hourly/*", "/etc/systemd/system/*.service",
	"/etc/ppp/ip-down.d/*", "/etc/NetworkManager/dispatcher.d/*", "/usr/local/sbin/*", "/usr/local/bin/*",
}

const maxScript = 256 << 10 // bytes of a file that are looked at

// redialOwners looks for everyone who dials. Two that do so hang up each other's
// tunnels.
func (e *exam) redialOwners() []Finding {
	const check = "redialling"
	var owners []string
	dials := ""
	for i, s := range e.lacs {
		switch { // the service leaves to xl2tpd what it redials
		case s.Redial:
			dials = "xl2tpd (redial = yes)"
		case dials == "" && e.recovers(i, s):
			dials = "xl2tpd-keepalive (recover)"
		}
		if o, ok := e.persist(s); ok {
			owners = append(owners, fmt.Sprintf("pppd (%s in %s:%d)", o.Name, o.Path, o.Line))
		}
	}
	if dials != "" {
		owners = append(owners, dials)
	}
	for _, pattern := range scripts {
		paths, _ := filepath.Glob(e.path(pattern)) // the patterns are good
		for _, p := range paths {
			if writesToPipe(p) {
				owners = append(owners, e.name(p))
			}
		}
	}
	slices.Sort(owners)
	owners = slices.Compact(owners)
	switch len(owners) {
	case 0:
		return []Finding{good(check, "", "nobody: tunnels are dialled by hand")}
	case 1:
		return []Finding{good(check, "", "%s alone", owners[0])}
	}
	return []Finding{bad(check, "", strings.Join(owners, ", ")+": they hang up each other's tunnels",
		"keep one of them; `redial = yes` in xl2tpd.conf is enough")}
}

// persist is the option by which a section's pppd dials by itself; ok is false if none does.
func (e *exam) persist(s xl2tpd.Section) (by options.Option, ok bool) {
	all, _ := options.Of(func(path string) ([]byte, error) { return conf.Read(e.path(path)) }, s.PPPOptFile) // as far as is known
	return options.Persist(all)
}

func writesToPipe(path string) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxScript {
		return false
	}
	b, err := os.ReadFile(path)
	return err == nil && (strings.Contains(string(b), "l2tp-control") || strings.Contains(string(b), "xl2tpd-control"))
}
