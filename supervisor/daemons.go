package supervisor

import (
	"log/slog"
	"maps"
	"net/netip"
	"time"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/supervisor/recovery/policy"
)

// daemons owns the processes of the xl2tpds, and so notices that one was started, restarted or has ended. At the start it
// knows those that the last process of this service has saved.
type daemons struct {
	processes map[string]procfs.ID // of the instances, by id; zero: none
	dirty     bool                 // processes has changed since it was last saved

	health *health
	out    *outbox
}

// processChange says that the process of an instance has ended, or was replaced, or that the instance is gone.
type processChange struct {
	instance string    // its id
	was      procfs.ID // the process that has ended, or was replaced; zero: there was none
	runs     bool      // there is one now
	gone     bool
}

// take takes the state of every xl2tpd's process and file. first is true for the first snapshot, before is the topology
// before the snapshot.
func (ds *daemons) take(s xl2tpd.Snapshot, first bool, before *topology) (changes []processChange) {
	here := make(map[string]bool)
	others := false // that run
	for i, is := range s.Instances {
		here[instanceID(i, is.Key)] = true
		others = others || i > 0 && is.Runs()
	}
	for id, was := range ds.processes {
		if !here[id] {
			ds.forget(before.byID[id], id)
			changes = append(changes, processChange{instance: id, was: was, gone: true})
		}
	}
	for i, is := range s.Instances {
		in := newInstance(instanceID(i, is.Key), is)
		was := ds.processes[in.id]
		if in.Process != was {
			changes = append(changes, processChange{instance: in.id, was: was, runs: in.Process.Pid != 0})
		}
		ds.takeDaemon(in, others, first)
	}
	return changes
}

// takeDaemon takes the state of one instance.
func (ds *daemons) takeDaemon(in *instance, others, first bool) {
	was, met := ds.processes[in.id]
	is := in.Process
	missing := !in.Runs() && in.Needed() && !(others && in.Conf == nil)
	if is != was || !met || first {
		attrs := ds.instanceAttrs(in)
		switch {
		case in.Runs():
			ds.out.log(slog.LevelInfo, "xl2tpd is running", append(attrs, slog.Int("pid", is.Pid))...)
		case missing:
			ds.out.log(slog.LevelWarn, "xl2tpd is not running", attrs...)
		}
		ds.processes[in.id], ds.dirty = is, true
	}
	of, notRunning := "", message.Text("xl2tpd not running")
	if in.id != "" {
		of, notRunning = " of "+in.Path, message.Sprintf("xl2tpd of %s not running", in.Path)
	}
	ds.health.fault("xl2tpd"+of, missing, status.Problem{Code: status.CodeXl2tpd, Text: notRunning})
	// Only root may read the files of NetworkManager: that is no fault.
	wrong := in.ConfErr != nil && !in.NetworkManager() && (in.Runs() || missing || !others)
	text := message.Text("")
	if wrong {
		text = message.TextOf(in.ConfErr)
	}
	ds.health.fault("xl2tpd.conf"+of, wrong, status.Problem{Code: status.CodeXl2tpdConf, Text: text})
}

// forget forgets an instance that no longer exists. was is the instance in the topology before; nil: it was not there.
func (ds *daemons) forget(was *instance, id string) {
	delete(ds.processes, id)
	ds.dirty = true
	if was != nil {
		ds.health.fault("xl2tpd of "+was.Path, false, status.Problem{})
		ds.health.fault("xl2tpd.conf of "+was.Path, false, status.Problem{})
	}
}

// instanceAttrs returns log attributes that name an instance; nil if there is only one.
func (ds *daemons) instanceAttrs(in *instance) []slog.Attr {
	if in.id == "" && len(ds.processes) < 2 {
		return nil
	}
	return []slog.Attr{slog.String("config", in.Path)}
}

// of returns the process of a LAC's xl2tpd; zero: none.
func (ds *daemons) of(l *lac) procfs.ID { return ds.processes[l.instance] }

// xl2tpdEnded notes when the xl2tpds of instances have ended.
func (es *ends) xl2tpdEnded(changes []processChange, now time.Time) {
	maps.DeleteFunc(es.xl2tpdEndedAt, func(_ string, at time.Time) bool { return now.Sub(at) > policy.ReasonDelay })
	for _, one := range changes {
		if one.was.Pid == 0 {
			continue
		}
		es.xl2tpdEndedAt[one.instance] = now
		for i := range es.reasons {
			r := &es.reasons[i]
			its := r.Owner == unknownOwner || canBelongTo(r.Owner, one.was.Pid)
			r.over = r.over || its && !r.spent.IsZero()
		}
	}
}

// takeProcesses takes what has changed about the processes of the xl2tpds. first is true for the first snapshot.
func (ls *lacTable) takeProcesses(changes []processChange, first bool, now time.Time) {
	for _, one := range changes {
		ls.daemonReplaced(one.instance, one.runs, now)
		if one.gone {
			ls.forgetInstance(one.instance)
		}
	}
	if first {
		for _, l := range ls.byKey {
			if l.had == hadBefore { // if the same xl2tpd still runs, its tunnels are seen, or have ended
				l.had = hadNone
			}
		}
	}
}

// forgetInstance forgets the LACs of an instance that no longer exists.
func (ls *lacTable) forgetInstance(id string) {
	maps.DeleteFunc(ls.byKey, func(_ string, l *lac) bool {
		idle := l.instance == id && l.progress.UnderWay() == policy.StepNone
		if idle {
			ls.agenda.drop(l)
		}
		return idle
	})
}

// localAddr returns the address that a LAC's xl2tpd sends from, as its file says. It is invalid if the file names none.
func (t *topology) localAddr(l *lac) netip.Addr {
	in := t.byID[l.instance]
	if in == nil || in.Conf == nil || in.Conf.ListenAddr.IsUnspecified() {
		return netip.Addr{}
	}
	return in.Conf.ListenAddr
}

// daemonReplaced notes that an instance's xl2tpd is another process, or has ended. A new xl2tpd knows nothing of the
// commands to the old one. A LAC that was hung up stays down. A LAC with `autodial` is dialled as soon as xl2tpd runs.
func (ls *lacTable) daemonReplaced(instance string, runs bool, now time.Time) {
	for _, l := range ls.byKey {
		if l.instance != instance {
			continue
		}
		hungUp := l.forgetTunnel(now)
		l.progress.Xl2tpdEnded()
		l.silentAt, l.attemptAt, l.notDiallingSince = time.Time{}, time.Time{}, time.Time{}
		l.plannedUntil, l.overAt = time.Time{}, time.Time{}
		l.notRedialled, l.startedAt, l.downAt, l.xl2tpdAt, l.cutHangUpAt = l.had == hadOne, time.Time{}, time.Time{}, time.Time{}, time.Time{}
		if runs {
			l.xl2tpdAt = now
		}
		s := ls.topology.section(l)
		autodials := runs && s != nil && s.Autodial
		if autodials && ls.health.reported[WatcherXl2tpd] {
			l.startedAt = now
		}
		if autodials && !hungUp {
			l.notRedialled, l.attemptAt = false, now
			l.progress.Dialled(now)
			l.stale = l.progress.UnderWay() != policy.StepNone
		}
	}
}
