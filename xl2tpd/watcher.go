package xl2tpd

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"xl2tpd-keepalive/hint"
	"xl2tpd-keepalive/proc"
	"xl2tpd-keepalive/xl2tpd/conf"
)

const (
	settle   = 100 * time.Millisecond // editors and daemons write in several steps
	slowLook = 5 * time.Second        // for what brings no notice of its own
)

// Watcher is the eye on xl2tpd. The zero value of each field but Deliver works.
type Watcher struct {
	ConfPath string         // "": the file the running xl2tpd was started with, else DefaultConfPath
	PidPaths []string       // default /run/xl2tpd.pid and /var/run/xl2tpd.pid
	ProcRoot string         // default /proc
	Log      *slog.Logger   // default slog.Default()
	Deliver  func(Snapshot) // called from Run, first at once, then on each change
	// Lookup resolves `lns = HOST`; default: the system's names, IPv4 only.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

	changed hint.Hint
	once    sync.Once
	urgent  chan string // hosts to be looked up

	// What a restart of Run must not forget.
	path     string // of the file looked at last
	seen     string // what reading it gave: its content, or the failure
	good     *Conf
	confErr  error
	reported map[string]string

	// System calls, replaced in tests.
	watchFiles func() (conf.Notify, error)
	waitExit   func(pid int) (*exit, error)
	peers      func() (map[uint16]netip.AddrPort, error)
	readFile   func(path string) ([]byte, error)
}

func lookupIPv4(ctx context.Context, host string) ([]netip.Addr, error) {
	r := net.Resolver{PreferGo: true} // the C library's can't be interrupted
	return r.LookupNetIP(ctx, "ip4", host)
}

// Look hints that something may have changed: look again now. It never blocks.
func (w *Watcher) Look() { w.changed.Give() }

// Resolve hints that a host of `lns = HOST` may have another address: look it up
// now, if that was not done in the last 5 s. It never blocks.
func (w *Watcher) Resolve(host string) {
	select {
	case w.hosts() <- host:
	default: // it will be said again
	}
}

func (w *Watcher) hosts() chan string {
	w.once.Do(func() { w.urgent = make(chan string, 16) })
	return w.urgent
}

// Run watches until ctx ends, then returns its error; nothing else ends it.
func (w *Watcher) Run(ctx context.Context) error {
	l := w.newLoop()
	// Lookups end with their context, which ends before anyone waits for them.
	defer l.resolver.wg.Wait()
	inner, cancel := context.WithCancel(ctx)
	defer cancel()

	watch, err := l.watchFiles()
	w.complain("watch", "xl2tpd: changes of files will be seen up to 5 s late, inotify is not to be had", err)
	if err != nil {
		watch = conf.Notify{Check: func(...string) {}, Close: func() {}}
	}
	defer watch.Close()
	defer l.forget()

	slow := time.NewTicker(slowLook)
	defer slow.Stop()
	var last *Snapshot
	for {
		s := l.look(inner, watch.Check)
		if last == nil || !reflect.DeepEqual(*last, s) {
			last = &s
			w.Deliver(s)
		}
		if err := l.wait(ctx, watch.C, slow.C); err != nil {
			return err
		}
	}
}

// loop is the state of one Run.
type loop struct {
	*Watcher
	procRoot   string
	pidPaths   []string
	watchFiles func() (conf.Notify, error)
	waitExit   func(pid int) (*exit, error)
	askPeers   func() (map[uint16]netip.AddrPort, error)
	resolver   resolver

	proc  process // watched now; pid 0: none
	ended process // the last one whose end was seen

	// The end is told at once; the search for another comes with the next look,
	// since it goes through all of /proc.
	justEnded bool

	exit *exit // of proc; nil when the system has no such thing

	sessions []Session // of the kernel, as its table was read last
	known    map[tunnel]netip.AddrPort
	stale    bool          // the table has to be read again
	read     time.Time     // when it was read last
	took     time.Duration // and for how long
	rested   <-chan time.Time

	settled <-chan time.Time // a file has changed, and this is when to look
}

func (w *Watcher) newLoop() *loop {
	l := &loop{
		Watcher:    w,
		procRoot:   cmp.Or(w.ProcRoot, "/proc"),
		pidPaths:   w.PidPaths,
		watchFiles: w.watchFiles,
		waitExit:   w.waitExit,
		askPeers:   w.peers,
		resolver:   resolver{lookup: w.Lookup, done: make(chan answer), hosts: map[string]*host{}},
		stale:      true,
	}
	if l.pidPaths == nil {
		l.pidPaths = []string{"/run/xl2tpd.pid", "/var/run/xl2tpd.pid"}
	}
	if l.watchFiles == nil {
		l.watchFiles = conf.NewNotify
	}
	if l.waitExit == nil {
		l.waitExit = waitExit
	}
	if l.askPeers == nil {
		l.askPeers = kernelPeers
	}
	if l.readFile == nil {
		l.readFile = os.ReadFile
	}
	if l.resolver.lookup == nil {
		l.resolver.lookup = lookupIPv4
	}
	return l
}

// wait returns nil when it is time to look.
func (l *loop) wait(ctx context.Context, changed <-chan struct{}, slow <-chan time.Time) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
			l.settled = time.After(settle)
			continue
		case <-l.settled:
			l.settled = nil
		case <-l.changed.C():
			l.stale = true
		case <-l.rested:
			l.rested = nil
		case <-l.exited():
			l.ended = l.proc
			l.forget()
			l.justEnded = true
		case host := <-l.hosts():
			l.resolver.hurry(host)
		case a := <-l.resolver.done:
			l.resolver.take(a, time.Now())
		case <-slow:
		}
		return nil
	}
}

func (l *loop) look(ctx context.Context, check func(paths ...string)) Snapshot {
	// Watch first, read second: no change falls in between.
	check(append([]string{l.confPath()}, l.pidPaths...)...)
	if !l.justEnded {
		l.findProcess()
	}
	l.justEnded = false
	if path := l.confPath(); path != l.path {
		check(append([]string{path}, l.pidPaths...)...)
	}
	l.readConf(l.confPath())
	return Snapshot{
		Instances: []Instance{{Process: proc.ID{Pid: l.proc.pid, Start: l.proc.start}, Conf: l.resolve(ctx), ConfErr: l.confErr}},
		Sessions:  l.table(time.Now()),
	}
}

// findProcess keeps proc and the wait for its end up to date.
func (l *loop) findProcess() {
	p, ok := findProcess(l.procRoot, l.pidPaths, l.ConfPath)
	if ok && p == l.ended {
		ok = false // not yet reaped
	}
	if !ok {
		l.forget()
		return
	}
	if p == l.proc {
		return
	}
	l.forget()
	exit, err := l.waitExit(p.pid)
	if err == nil {
		// The pid may have passed on to another process before the wait began.
		if again, ok := readProcess(l.procRoot, p.pid); !ok || again.start != p.start {
			exit.stop()
			return
		}
	}
	l.complain("exit", "xl2tpd: the end of the process will be seen up to 5 s late", err)
	l.proc, l.exit, l.stale = p, exit, true
}

func (l *loop) forget() {
	if l.exit != nil {
		l.exit.stop()
	}
	l.stale = l.stale || l.proc != process{}
	l.proc, l.exit = process{}, nil
}

func (l *loop) exited() <-chan struct{} {
	if l.exit == nil {
		return nil
	}
	return l.exit.C
}

// confPath is the file to read. A daemon that is gone leaves its file behind.
func (l *loop) confPath() string {
	follow := ""
	if filepath.IsAbs(l.proc.conf) {
		follow = l.proc.conf
	}
	return cmp.Or(l.ConfPath, follow, l.path, DefaultConfPath)
}

// readConf reads the file, and parses it when its content is new.
func (w *Watcher) readConf(path string) {
	data, err := conf.Read(path)
	seen := fmt.Sprintf("%s %v %s", path, err, data)
	if seen == w.seen {
		return
	}
	var c *Conf
	if err == nil {
		c, err = ParseConf(path, data)
	}
	if err == nil {
		w.good = c
	}
	w.path, w.seen, w.confErr = path, seen, err
	msg := "xl2tpd.conf can't be used"
	if w.good != nil {
		msg += ", keeping what it said before"
	}
	w.complain("conf", msg, err)
}

// resolve returns the last good Conf with the addresses known now.
func (l *loop) resolve(ctx context.Context) *Conf {
	if l.good == nil {
		return nil
	}
	c := *l.good
	c.Sections = slices.Clone(c.Sections)
	now := time.Now()
	for i := range c.Sections {
		if s := &c.Sections[i]; len(s.LNS) > 0 {
			s.LNSIPs = l.resolver.addrs(ctx, s.LNS[0], now)
		}
	}
	return &c
}

// complain logs a failure once, until it changes or is over.
func (w *Watcher) complain(topic, msg string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if w.reported[topic] == text {
		return
	}
	if w.reported == nil {
		w.reported = map[string]string{}
	}
	w.reported[topic] = text
	log := w.Log
	if log == nil {
		log = slog.Default()
	}
	if err != nil {
		log.Warn(msg, "err", err)
	}
}
