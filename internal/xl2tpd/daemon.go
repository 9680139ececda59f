package xl2tpd

import (
	"cmp"
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/procfs"
)

// daemon is a running xl2tpd and what is known about it.
type daemon struct {
	process
	unit    string
	confErr error  // why its file is not known; then only its pid identifies it
	ownPipe bool   // the path of its pipe names the same file for this process
	stop    func() // ends the wait for its exit; nil: nothing waits for that
	waitErr error  // why nothing does
}

// findDaemons keeps running up to date.
func (l *loop) findDaemons(ctx context.Context) {
	for id := range l.running {
		if !l.procs.alive(id) {
			l.forget(id)
		}
	}
	l.followAll()
	if now := time.Now(); l.searching.ready(now) {
		found := l.procs.local()
		l.searching.done(now)
		l.update(ctx, found)
	}
	l.complainOfExits()
	l.assignKeys()
	l.learn()
}

// update adds the processes that are new.
func (l *loop) update(ctx context.Context, found []process) {
	maps.DeleteFunc(l.ended, func(id procfs.ID, _ bool) bool {
		return !slices.ContainsFunc(found, func(x process) bool { return x.ID == id })
	})
	for _, x := range found {
		if l.running[x.ID] == nil && !l.ended[x.ID] {
			l.add(ctx, x)
		}
	}
}

func (l *loop) add(ctx context.Context, x process) {
	stop, err := l.follow(x.ID)
	if !l.procs.alive(x.ID) { // another process may have got the pid before the wait began
		if stop != nil {
			stop()
		}
		return
	}
	d := l.inspect(ctx, x)
	d.stop, d.waitErr = stop, err
	l.running[x.ID], l.reading.stale = d, true
}

// followAll waits for the ends of those processes for which that has failed before.
func (l *loop) followAll() {
	for id, d := range l.running {
		if d.stop != nil {
			continue
		}
		d.stop, d.waitErr = l.follow(id)
		if !l.procs.alive(id) {
			l.forget(id)
		}
	}
}

// complainOfExits complains while there is a process for whose end nothing waits.
func (l *loop) complainOfExits() {
	var err error
	for _, d := range slices.SortedFunc(maps.Values(l.running), comparePipeClaim) {
		err = cmp.Or(err, d.waitErr)
	}
	l.complain("exit", "xl2tpd: the end of the process will be seen up to 10 s late", err)
}

// follow sends the process on exits when it ends. stop is nil if there is an error.
func (l *loop) follow(id procfs.ID) (stop func(), err error) {
	given := make(chan struct{})
	giveUp, err := l.waitExit(id.Pid, func() {
		select {
		case l.exits <- id:
		case <-given:
		}
	})
	if err != nil {
		return nil, err
	}
	return func() { close(given); giveUp() }, nil
}

func (l *loop) forget(id procfs.ID) {
	if d := l.running[id]; d != nil {
		if d.stop != nil {
			d.stop()
		}
		delete(l.running, id)
		l.reading.stale = true
	}
}

func (l *loop) forgetAll() {
	for id := range l.running {
		l.forget(id)
	}
}

// ErrElsewhere is part of the ConfErr of an xl2tpd that does not see the files of this program.
var ErrElsewhere = message.Errorf("it runs in a container, or the sandbox of xl2tpd-keepalive.service hides the file")

// inspect reads what does not change while the process runs.
func (l *loop) inspect(ctx context.Context, x process) *daemon {
	pid := strconv.Itoa(x.Pid)
	x, err := l.procs.locate(ctx, x)
	d := &daemon{process: x, unit: l.procs.unit(x.Pid), ownPipe: l.procs.sameFile(pid, x.pipe)}
	if !filepath.IsAbs(d.conf) {
		d.confErr = message.Errorf("%s: a path relative to the folder in which xl2tpd (pid %d) was started, and that is not known (%v): "+
			"start xl2tpd with the whole path behind -c", d.conf, d.Pid, err)
		return d
	}
	theirs, ok1 := l.procs.fileID(pid, d.conf)
	home, ok2 := l.procs.fileID("self", l.home)
	switch {
	case ok1 && ok2 && theirs == home: // under another name in a container, perhaps
		d.conf = l.home
	case !l.procs.sameFile(pid, d.conf):
		d.confErr = message.Errorf("%s: xl2tpd (pid %d) has another file there than this program: %v", d.conf, d.Pid, ErrElsewhere)
	}
	return d
}

// assignKeys gives each running xl2tpd its key. Of several with the same file and pipe the one that
// started last gets the key without a pid: it has created the pipe again.
func (l *loop) assignKeys() {
	l.byKey = map[Key]*daemon{}
	for _, d := range slices.SortedFunc(maps.Values(l.running), comparePipeClaim) {
		key := Key{Path: d.conf, Pipe: d.pipe}
		if d.confErr != nil {
			key.Pid = d.Pid
		} else if other := l.byKey[key]; other != nil {
			l.byKey[Key{key.Path, key.Pipe, other.Pid}] = other
		}
		l.byKey[key] = d
	}
}

// comparePipeClaim compares which of two processes is likelier to own a pipe; the likeliest sorts last.
func comparePipeClaim(a, b *daemon) int {
	return cmp.Or(cmp.Compare(truth(a.ownPipe), truth(b.ownPipe)), byStart(a.process, b.process))
}
