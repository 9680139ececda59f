package supervisor

import (
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"time"

	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// takeDaemons takes in how every xl2tpd itself is. The atlas still has what was known before.
func (b *Brain) takeDaemons(s xl2tpd.Snapshot, now time.Time) {
	here := make(map[string]bool)
	others := false // that run
	for i, is := range s.Instances {
		here[instanceID(i, is.Key)] = true
		others = others || i > 0 && is.Runs()
	}
	for id := range b.daemons {
		if !here[id] {
			b.forgetInstance(id, now)
		}
	}
	for i, is := range s.Instances {
		b.takeDaemon(newInstance(instanceID(i, is.Key), is), others, now)
	}
	if !b.eyes[EyeXl2tpd] {
		for _, l := range b.lacs {
			l.was = false // if it is still that xl2tpd, its tunnels are seen, or have ended
		}
	}
}

// takeDaemon takes in how one instance is.
func (b *Brain) takeDaemon(in *instance, others bool, now time.Time) {
	was, met := b.daemons[in.id]
	is := in.Process
	if is != was {
		b.daemonChanged(in.id, was, is, now)
	}
	missing := !in.Runs() && in.Needed() && !(others && in.Conf == nil)
	if is != was || !met || !b.eyes[EyeXl2tpd] {
		attrs := b.instanceAttrs(in)
		switch {
		case in.Runs():
			b.note(slog.LevelInfo, "xl2tpd is running", append(attrs, slog.Int("pid", is.Pid))...)
		case missing:
			b.note(slog.LevelWarn, "xl2tpd is not running", attrs...)
		}
		b.daemons[in.id], b.learnt = is, true
	}
	of := ""
	if in.id != "" {
		of = " of " + in.Path
	}
	b.fault("xl2tpd"+of, missing, "xl2tpd"+of+" not running")
	// NetworkManager lets only root read its files, and nothing is amiss.
	wrong := in.ConfErr != nil && !in.NetworkManager() && (in.Runs() || missing || !others)
	b.fault("xl2tpd.conf"+of, wrong, fmt.Sprint(in.ConfErr))
}

// daemonChanged notes that an instance's process has ended, or is another one.
func (b *Brain) daemonChanged(id string, was, is procfs.ID, now time.Time) {
	if was.Pid != 0 {
		b.closes.died[id] = now
	}
	b.newDaemon(id, is.Pid != 0, now)
}

// forgetInstance forgets an instance that is no more.
func (b *Brain) forgetInstance(id string, now time.Time) {
	b.daemonChanged(id, b.daemons[id], procfs.ID{}, now)
	delete(b.daemons, id)
	b.learnt = true
	maps.DeleteFunc(b.closes.died, func(_ string, at time.Time) bool { return now.Sub(at) > late })
	maps.DeleteFunc(b.lacs, func(_ string, l *lac) bool {
		gone := l.instance == id && l.ladder.busy == StepNone
		if gone {
			b.climbs.Set(l, time.Time{})
			delete(b.waiting, l)
		}
		return gone
	})
	if in := b.atlas.byID[id]; in != nil {
		b.fault("xl2tpd of "+in.Path, false, "")
		b.fault("xl2tpd.conf of "+in.Path, false, "")
	}
}

// instanceAttrs name an instance in the log, if there is more than one.
func (b *Brain) instanceAttrs(in *instance) []slog.Attr {
	if in.id == "" && len(b.daemons) < 2 {
		return nil
	}
	return []slog.Attr{slog.String("config", in.Path)}
}

// daemon is the process of a LAC's xl2tpd; zero: none.
func (b *Brain) daemon(l *lac) procfs.ID { return b.daemons[l.instance] }

// from is the address that the file of a LAC's xl2tpd has it send from, or invalid.
func (b *Brain) from(l *lac) netip.Addr {
	in := b.atlas.byID[l.instance]
	if in == nil || in.Conf == nil || in.Conf.ListenAddr.IsUnspecified() {
		return netip.Addr{}
	}
	return in.Conf.ListenAddr
}

// target is whom a command about a LAC is for.
func (b *Brain) target(l *lac) xl2tpd.Target {
	t := xl2tpd.Target{Process: b.daemon(l)}
	if in := b.atlas.byID[l.instance]; in != nil {
		t.Pipe = in.Pipe
	}
	return t
}
