package xl2tpd

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"xl2tpd-keepalive/internal/procfs"
)

// Instance is one xl2tpd of this network namespace. It runs, has run, or is only configured.
type Instance struct {
	Key
	Process    procfs.ID // zero: not running
	Unit       string    // systemd service that runs it, or has run it, such as "office-l2tp.service"; empty: none
	Connection string    // UUID of its NetworkManager connection; empty: none
	Name       string    // what NetworkManager calls that connection; empty: not known
	Conf       *Conf     // nil while its file has never been good
	ConfErr    error     // why Conf is not the file's present content; nil if it is
}

// Key identifies an instance, also across restarts of the daemon.
type Key struct {
	Path string // of the configuration file, absolute; relative only if its folder is not known
	Pipe string // control pipe, likewise
	Pid  int    // set if another running instance has the same file and pipe, or the file is not known; else 0
}

func (k Key) compare(other Key) int {
	return cmp.Or(strings.Compare(k.Path, other.Path), strings.Compare(k.Pipe, other.Pipe), cmp.Compare(k.Pid, other.Pid))
}

// Runs reports whether its process runs.
func (i Instance) Runs() bool { return i.Process != procfs.ID{} }

// NetworkManager reports whether NetworkManager starts, dials and ends it.
func (i Instance) NetworkManager() bool { return i.Connection != "" }

// Snapshot is all that is known of the instances and sessions at one moment.
type Snapshot struct {
	// Instances are in the order of their keys. The instance of DefaultConfPath
	// (or Watcher.ConfPath) comes first and always exists.
	Instances []Instance
	Sessions  []Session // of the kernel; none in userspace mode
}

// Home is the instance of DefaultConfPath (or Watcher.ConfPath); nil in a zero Snapshot.
func (s Snapshot) Home() *Instance {
	if len(s.Instances) == 0 {
		return nil
	}
	return &s.Instances[0]
}

// record is what the Watcher remembers of an instance, running or not.
type record struct{ unit, pidFile string }

// instances returns the instances that run, those that have ended and may come back, and the host's own in any case.
func (l *loop) instances(ctx context.Context) []Instance {
	var all []Instance
	for key, r := range l.known {
		i := l.instance(ctx, key, r, l.byKey[key])
		if !i.Runs() && !i.stays() {
			delete(l.known, key)
			delete(l.names.known, i.Connection)
			continue
		}
		all = append(all, i)
	}
	all = l.order(ctx, all)
	l.forgetFiles(all)
	return all
}

// learn adds the running instances to the known ones. A new instance replaces those that have ended
// and had the same unit or file: the command line was changed.
func (l *loop) learn() {
	for key, d := range l.byKey {
		if _, old := l.known[key]; !old {
			maps.DeleteFunc(l.known, func(other Key, r record) bool {
				return l.byKey[other] == nil && (d.unit != "" && r.unit == d.unit || other.Path == key.Path)
			})
		}
		l.known[key] = record{unit: d.unit, pidFile: d.pidFile}
	}
}

// instance builds an Instance; d is nil if it does not run.
func (l *loop) instance(ctx context.Context, key Key, r record, d *daemon) Instance {
	i := Instance{Key: key, Unit: r.unit, Connection: connectionOf(key.Path)}
	i.Name = l.names.name(ctx, i.Connection)
	if d != nil {
		i.Process, i.ConfErr = d.ID, d.confErr
	}
	if i.ConfErr == nil {
		f := l.read(key.Path)
		i.Conf, i.ConfErr = l.resolve(ctx, f), f.err
	}
	return i
}

// stays reports whether an instance that has ended may come back under its key.
func (i Instance) stays() bool {
	return i.Pid == 0 && !i.NetworkManager() && !errors.Is(i.ConfErr, fs.ErrNotExist)
}

// order sorts the instances, the host's own first. If there is none, it makes one.
func (l *loop) order(ctx context.Context, all []Instance) []Instance {
	first := -1
	for n, i := range all {
		if i.Path == l.home && i.Pid == 0 && (first < 0 || i.before(all[first])) {
			first = n
		}
	}
	if first < 0 {
		first = len(all)
		all = append(all, l.instance(ctx, Key{Path: l.home, Pipe: DefaultPipe}, record{}, nil))
	}
	key := all[first].Key
	slices.SortFunc(all, func(a, b Instance) int {
		return cmp.Or(-cmp.Compare(truth(a.Key == key), truth(b.Key == key)), a.Key.compare(b.Key))
	})
	return all
}

// before reports whether, of two instances with the same file, i is likelier the host's own.
func (i Instance) before(other Instance) bool {
	return cmp.Or(
		-cmp.Compare(truth(i.Runs()), truth(other.Runs())),
		-cmp.Compare(truth(i.Pipe == DefaultPipe), truth(other.Pipe == DefaultPipe)),
		i.Key.compare(other.Key)) < 0
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}
