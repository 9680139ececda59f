package doctor

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// xl2tpds checks every xl2tpd of this host.
func (c *checker) xl2tpds() []Finding {
	if c.seenErr != nil {
		return []Finding{unknown("xl2tpd", "", message.TextOf(c.seenErr))}
	}
	var all []Finding
	for n, i := range c.seen.Instances {
		all = append(all, c.running(n, i)...)
		if errors.Is(i.ConfErr, xl2tpd.ErrElsewhere) { // so a file or a pipe of the same name here says nothing of it
			all = append(all, note("xl2tpd.conf", c.names[n], message.TextOf(i.ConfErr), inContainer))
			continue
		}
		all = append(all, c.lns(n, i)...)
		all = append(all, c.unknownKeys(n, i)...)
		if err := i.ConfErr; err != nil && !i.NetworkManager() && (i.Runs() || i.Needed() && !c.anotherRuns(n)) {
			all = append(all, wrongFile(c.names[n], i.Path, err))
		}
		if i.Runs() {
			all = append(all, c.stale(n, i)...)
			all = append(all, c.pipe(n, i), c.maxRetries(n, i))
			all = append(all, c.saref(n, i)...)
		}
	}
	return all
}

// wrongFile is the finding for a file of xl2tpd that can't be read, or has a mistake.
func wrongFile(instance, path string, err error) Finding {
	if errors.Is(err, fs.ErrNotExist) {
		return bad("xl2tpd.conf", instance, message.Sprintf("there is no file %s", path), "write it, see xl2tpd.conf(5)")
	}
	return bad("xl2tpd.conf", instance, message.TextOf(err), "correct that before xl2tpd is started again")
}

// lns finds LACs that xl2tpd can never dial, because of their `lns`.
func (c *checker) lns(n int, i xl2tpd.Instance) []Finding {
	if i.Conf == nil || i.NetworkManager() {
		return nil
	}
	var all []Finding
	for _, s := range i.Conf.Sections {
		fault := s.LNSFault()
		if fault == "" {
			continue
		}
		t := status.Tunnel{Name: s.Kind + " " + s.Name, Instance: c.names[n]}
		f := bad("lns", title(&t), message.Sprintf("%s:%d: %s", i.Conf.Path, s.LNSLine, fault), "correct that line")
		if i.Runs() {
			f.Remedy = append(f.Remedy, whenIdle(c.restart(i)))
		}
		all = append(all, f)
	}
	return all
}

// anotherRuns reports whether another xl2tpd runs.
func (c *checker) anotherRuns(n int) bool {
	for m, i := range c.seen.Instances {
		if m != n && i.Runs() {
			return true
		}
	}
	return false
}

// running checks whether an instance runs, if it has tunnels.
func (c *checker) running(n int, i xl2tpd.Instance) []Finding {
	const check = "xl2tpd"
	switch {
	case i.Runs() && i.NetworkManager():
		return []Finding{good(check, c.names[n], "running, pid %d, of NetworkManager", i.Process.Pid)}
	case i.Runs() && i.Unit != "":
		return []Finding{good(check, c.names[n], "running, pid %d, of %s", i.Process.Pid, i.Unit)}
	case i.Runs():
		return []Finding{good(check, c.names[n], "running, pid %d, of no unit", i.Process.Pid)}
	case i.Conf == nil && c.anotherRuns(n):
		return nil
	case !i.Needed():
		return []Finding{good(check, c.names[n], "not running: %s has no tunnels", i.Path)}
	}
	return []Finding{c.stopped()}
}

const xl2tpdUnit = "xl2tpd.service"

// stopped returns the finding for the xl2tpd of the default file, which does not run.
func (c *checker) stopped() Finding {
	const check = "xl2tpd"
	if !c.booted() {
		return bad(check, c.names[0], "not running", "start it as it was started before")
	}
	state, err := c.Unit(c.ctx, xl2tpdUnit)
	switch {
	case err != nil:
		return bad(check, c.names[0], message.Sprintf("not running, and its unit is not known: %v", err), "start it as it was started before")
	case strings.HasPrefix(state, "active"):
		// The generated unit of an init script stays active when the daemon dies.
		return bad(check, c.names[0], message.Sprintf("its unit is %s, but there is no process", state), command("systemctl restart xl2tpd"))
	case strings.HasPrefix(state, "masked"):
		return bad(check, c.names[0], "not running, and its unit is masked", command("systemctl unmask xl2tpd"), command("systemctl start xl2tpd"))
	case state == "":
		return bad(check, c.names[0], message.Sprintf("not running, and there is no %s", xl2tpdUnit), command("apt install xl2tpd"), "or start it as it was started before")
	}
	return bad(check, c.names[0], "not running", command("systemctl start xl2tpd"), command("journalctl -u xl2tpd"))
}

// pipe checks an xl2tpd's control pipe. A shell that writes to its path while xl2tpd
// is down creates a regular file there.
func (c *checker) pipe(n int, i xl2tpd.Instance) Finding {
	const check = "control pipe"
	info, err := os.Lstat(c.path(i.Pipe))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return bad(check, c.names[n], message.Sprintf("%s does not exist: xl2tpd can't be told to dial or to hang up", i.Pipe), c.restart(i))
	case err != nil:
		return bad(check, c.names[n], message.TextOf(err), c.restart(i))
	case info.Mode().Type() != fs.ModeNamedPipe:
		return bad(check, c.names[n], message.Sprintf("%s is no pipe: commands go nowhere", i.Pipe), command("rm "+i.Pipe), c.restart(i))
	}
	return good(check, c.names[n], "%s is a pipe", i.Pipe)
}

// maxRetries finds a raised `max retries`. It is a common workaround for unanswered Hellos. With the Hello guard it only
// keeps tunnels of dead peers.
func (c *checker) maxRetries(n int, i xl2tpd.Instance) Finding {
	const check = "max retries"
	switch conf := i.Conf; {
	case conf == nil:
		return unknown(check, c.names[n], message.Sprintf("%s can't be read", i.Path))
	case conf.MaxRetries > xl2tpd.DefaultMaxRetries:
		return bad(check, c.names[n], message.Sprintf("%s says %d: a dead peer is found much later, and its Hellos pile up until then", conf.Path, conf.MaxRetries),
			"take `max retries` out of [global]: the Hello guard does what it was for", whenIdle(c.restart(i)))
	default:
		return good(check, c.names[n], "%d", conf.MaxRetries)
	}
}

// networkManagers reports whether a connection of strongSwan is NetworkManager's, which rewrites its
// file each time.
func (c *checker) networkManagers(connection string) bool {
	return slices.ContainsFunc(c.seen.Instances, func(i xl2tpd.Instance) bool {
		return i.NetworkManager() && i.Connection == connection
	})
}

// instance returns the xl2tpd of a tunnel; nil: not known. The service also knows instances that have
// ended, so it may name one that is the only one here.
func (c *checker) instance(called string) *xl2tpd.Instance {
	var only *xl2tpd.Instance
	running := 0
	for n := range c.seen.Instances {
		i := &c.seen.Instances[n]
		if called != "" && (c.names[n] == called || i.Unit == called || i.Path == called) {
			return i
		}
		if i.Runs() {
			only = i
			running++
		}
	}
	if called == "" && running == 1 {
		return only
	}
	return nil
}
