package supervisor

import (
	"log/slog"
	"maps"
	"net/netip"
	"time"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// takeDaemons takes the state of every xl2tpd's process and file. The topology still holds the snapshot before.
func (core *Core) takeDaemons(s xl2tpd.Snapshot, now time.Time) {
	here := make(map[string]bool)
	others := false // that run
	for i, is := range s.Instances {
		here[instanceID(i, is.Key)] = true
		others = others || i > 0 && is.Runs()
	}
	for id := range core.processes {
		if !here[id] {
			core.forgetInstance(id, now)
		}
	}
	for i, is := range s.Instances {
		core.takeDaemon(newInstance(instanceID(i, is.Key), is), others, now)
	}
	if !core.reported[WatcherXl2tpd] {
		for _, l := range core.lacs {
			l.seenBefore = false // if the same xl2tpd still runs, its tunnels are seen, or have ended
		}
	}
}

// takeDaemon takes the state of one instance.
func (core *Core) takeDaemon(in *instance, others bool, now time.Time) {
	was, met := core.processes[in.id]
	is := in.Process
	if is != was {
		core.processChanged(in.id, was, is, now)
	}
	missing := !in.Runs() && in.Needed() && !(others && in.Conf == nil)
	if is != was || !met || !core.reported[WatcherXl2tpd] {
		attrs := core.instanceAttrs(in)
		switch {
		case in.Runs():
			core.log(slog.LevelInfo, "xl2tpd is running", append(attrs, slog.Int("pid", is.Pid))...)
		case missing:
			core.log(slog.LevelWarn, "xl2tpd is not running", attrs...)
		}
		core.processes[in.id], core.dirty = is, true
	}
	of, notRunning := "", message.Text("xl2tpd not running")
	if in.id != "" {
		of, notRunning = " of "+in.Path, message.Sprintf("xl2tpd of %s not running", in.Path)
	}
	core.fault("xl2tpd"+of, missing, notRunning)
	// Only root may read the files of NetworkManager: that is no fault.
	wrong := in.ConfErr != nil && !in.NetworkManager() && (in.Runs() || missing || !others)
	text := message.Text("")
	if wrong {
		text = message.TextOf(in.ConfErr)
	}
	core.fault("xl2tpd.conf"+of, wrong, text)
}

// processChanged notes that an instance's process has ended, or was replaced.
func (core *Core) processChanged(id string, was, is procfs.ID, now time.Time) {
	if was.Pid != 0 {
		core.ends.died[id] = now
	}
	core.daemonReplaced(id, is.Pid != 0, now)
}

// forgetInstance forgets an instance that no longer exists.
func (core *Core) forgetInstance(id string, now time.Time) {
	core.processChanged(id, core.processes[id], procfs.ID{}, now)
	delete(core.processes, id)
	core.dirty = true
	maps.DeleteFunc(core.ends.died, func(_ string, at time.Time) bool { return now.Sub(at) > late })
	maps.DeleteFunc(core.lacs, func(_ string, l *lac) bool {
		gone := l.instance == id && l.progress.busy == StepNone
		if gone {
			core.evaluateAt.Set(l, time.Time{})
			delete(core.waiting, l)
		}
		return gone
	})
	if in := core.topology.byID[id]; in != nil {
		core.fault("xl2tpd of "+in.Path, false, "")
		core.fault("xl2tpd.conf of "+in.Path, false, "")
	}
}

// instanceAttrs returns log attributes that name an instance; nil if there is only one.
func (core *Core) instanceAttrs(in *instance) []slog.Attr {
	if in.id == "" && len(core.processes) < 2 {
		return nil
	}
	return []slog.Attr{slog.String("config", in.Path)}
}

// process returns the process of a LAC's xl2tpd; zero: none.
func (core *Core) process(l *lac) procfs.ID { return core.processes[l.instance] }

// localAddr returns the address that a LAC's xl2tpd sends from, as its file says. It is invalid if the file names none.
func (core *Core) localAddr(l *lac) netip.Addr {
	in := core.topology.byID[l.instance]
	if in == nil || in.Conf == nil || in.Conf.ListenAddr.IsUnspecified() {
		return netip.Addr{}
	}
	return in.Conf.ListenAddr
}

// target returns the xl2tpd that gets commands about a LAC.
func (core *Core) target(l *lac) xl2tpd.Target {
	t := xl2tpd.Target{Process: core.process(l)}
	if in := core.topology.byID[l.instance]; in != nil {
		t.Pipe = in.Pipe
	}
	return t
}
