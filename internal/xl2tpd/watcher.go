package xl2tpd

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"xl2tpd-keepalive/internal/filewatch"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/wake"
)

// Watcher watches every xl2tpd. The zero value of each field but Deliver works.
type Watcher struct {
	ConfPath string         // file of the first instance; "": DefaultConfPath
	Log      *slog.Logger   // default slog.Default()
	Deliver  func(Snapshot) // called from Run: right after its start, then on each change

	changed wake.Signal
	once    sync.Once
	urgent  chan string // hosts to look up soon

	// State that a restart of Run keeps.
	known    map[Key]record   // instances, running or not
	files    map[string]*file // by path
	reported map[string]string

	sys *system // replaced in tests
}

// system is what the Watcher uses of this host.
type system struct {
	procs          procs
	confs          confPaths
	pidFiles       []string // watched whatever runs
	watchFiles     func() (filewatch.Watch, error)
	waitExit       func(pid int, ended func()) (stop func(), err error)
	peers          func() (map[uint16]netip.AddrPort, error)
	readFile       func(path string) ([]byte, error)
	lookup         func(ctx context.Context, host string) ([]netip.Addr, error)
	connectionName func(ctx context.Context, uuid string) (string, error)
}

func theSystem() *system {
	return &system{
		procs:          theProcs(),
		confs:          theConfPaths(),
		pidFiles:       []string{defaultPidFile, "/var" + defaultPidFile},
		watchFiles:     filewatch.New,
		waitExit:       procfs.OnExit,
		peers:          kernelPeers,
		readFile:       os.ReadFile,
		lookup:         LookupIPv4,
		connectionName: ConnectionName,
	}
}

// LookupIPv4 asks the system's name servers for the IPv4 addresses of a host.
func LookupIPv4(ctx context.Context, host string) ([]netip.Addr, error) {
	r := net.Resolver{PreferGo: true} // the C library's resolver can't be interrupted
	return r.LookupNetIP(ctx, "ip4", host)
}

// Look hints that something may have changed: look again now. It never blocks.
func (w *Watcher) Look() { w.changed.Send() }

// Resolve hints that a host of `lns = HOST` may have another address. The Watcher
// looks it up now, unless it has done so in the last 5 s. Resolve never blocks.
func (w *Watcher) Resolve(host string) {
	select {
	case w.hosts() <- host:
	default: // the caller will ask again
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
	defer l.names.wg.Wait()
	defer l.resolver.wg.Wait()
	inner, cancel := context.WithCancel(ctx)
	defer cancel()

	watch, err := l.watchFiles()
	w.complain("watch", "xl2tpd: changes of files will be seen up to 10 s late, inotify is unavailable", err)
	if l.blind = err != nil; l.blind {
		watch = filewatch.Watch{Check: func(...string) {}, Close: func() {}}
	}
	defer watch.Close()
	defer l.forgetAll()

	every := l.lookEvery()
	slow := time.NewTicker(every)
	defer slow.Stop()
	var last *Snapshot
	for {
		s := l.look(inner, watch.Check)
		if last == nil || !reflect.DeepEqual(*last, s) {
			last = &s
			w.Deliver(s)
		}
		if e := l.lookEvery(); e != every {
			every = e
			slow.Reset(every)
		}
		if err := l.wait(ctx, watch.C, slow.C); err != nil {
			return err
		}
	}
}

// loop is the state of one Run.
type loop struct {
	*Watcher
	*system
	home     string // path of the file of the first instance
	resolver resolver
	names    connectionNames

	running   map[procfs.ID]*daemon
	byKey     map[Key]*daemon    // the same
	ended     map[procfs.ID]bool // processes that have ended but may still be in /proc
	exits     chan procfs.ID
	searching throttle // the search through all of /proc
	blind     bool     // no notice comes when a file changes

	sessions []Session // of the kernel, as its table was read last
	peersOf  map[tunnelIDs]netip.AddrPort
	reading  throttle // of the kernel's table

	searchAt <-chan time.Time // a file has changed or a process has ended, and this is when to search
}

func (w *Watcher) newLoop() *loop {
	sys := w.sys
	if sys == nil {
		sys = theSystem()
	}
	if w.known == nil {
		w.known, w.files = map[Key]record{}, map[string]*file{}
	}
	l := &loop{
		Watcher:   w,
		system:    sys,
		home:      sys.confs.usual,
		resolver:  resolver{lookup: sys.lookup, done: make(chan answer), hosts: map[string]*host{}},
		names:     connectionNames{lookup: sys.connectionName, done: make(chan connectionName), known: map[string]string{}},
		running:   map[procfs.ID]*daemon{},
		ended:     map[procfs.ID]bool{},
		exits:     make(chan procfs.ID),
		searching: throttle{stale: true},
		reading:   throttle{stale: true},
	}
	if path, err := filepath.Abs(w.ConfPath); err == nil && w.ConfPath != "" {
		l.home = normal(path)
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
			l.searchAt = time.After(filewatch.WriteDelay)
			continue
		case <-l.searchAt:
			l.searchAt = nil
			l.searching.stale = true
		case <-l.changed.C():
			l.searching.stale, l.reading.stale = true, true
		case <-l.searching.rested:
			l.searching.rested = nil
		case <-l.reading.rested:
			l.reading.rested = nil
		case id := <-l.exits:
			// The loop delivers the end first, and then searches for a successor.
			l.ended[id] = true
			l.forget(id)
			l.searchAt = time.After(filewatch.WriteDelay)
		case host := <-l.hosts():
			l.resolver.lookUpSoon(host)
		case a := <-l.resolver.done:
			l.resolver.take(a, time.Now())
		case n := <-l.names.done:
			l.names.take(n)
		case <-slow:
			l.searching.stale = true
		}
		return nil
	}
}

// lookEvery returns how often to look without a notice. Mostly one comes: of an xl2tpd's file or pid file, of its end, or
// of a link.
func (l *loop) lookEvery() time.Duration {
	blind := l.blind
	for _, d := range l.running {
		blind = blind || d.stop == nil
	}
	if blind {
		return filewatch.BlindLook
	}
	return filewatch.SlowLook
}

func (l *loop) look(ctx context.Context, check func(paths ...string)) Snapshot {
	// Watch before reading, so that no change is missed in between.
	before := l.watched()
	check(before...)
	l.findDaemons(ctx)
	if now := l.watched(); !slices.Equal(before, now) {
		check(now...)
	}
	return Snapshot{Instances: l.instances(ctx), Sessions: l.table(time.Now())}
}

// watched returns the files to watch for changes.
func (l *loop) watched() []string {
	paths := append([]string{l.home}, l.pidFiles...)
	for key, r := range l.known {
		paths = append(paths, key.Path, r.pidFile)
	}
	if slices.Contains(paths, l.confs.usual) {
		paths = append(paths, l.confs.old)
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// complain logs a failure once. It logs the failure again if its text changes, or if it had ended meanwhile (err is nil).
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
	if err == nil {
		delete(w.reported, topic)
	}
	log := w.Log
	if log == nil {
		log = slog.Default()
	}
	if err != nil {
		log.Warn(msg, "err", err)
	}
}
