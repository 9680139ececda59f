package xl2tpd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"xl2tpd-keepalive/internal/filewatch"
	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

func TestMain(m *testing.M) {
	if os.Getenv(standInEnv) != "" {
		io.Copy(io.Discard, os.Stdin)
		return
	}
	goleak.VerifyTestMain(m)
}

// fixture runs a Watcher on sources that the test controls.
type fixture struct {
	t       *testing.T
	w       *Watcher
	proc    procDir
	conf    string
	pidFile string
	changed chan struct{}  // what inotify would say
	exits   map[int]func() // by pid: what a pidfd would say
	unitDir string         // what systemd would say
	units   []string       // of which it was asked
	stopped int            // waits for an exit given up
	asked   int            // times the kernel was asked for peers
	lookups []string
	answer  func(host string) ([]netip.Addr, error)
	checked []string
	log     bytes.Buffer

	mu     sync.Mutex // of what follows, and of lookups and answer
	got    []Snapshot
	cancel context.CancelFunc
	ended  chan error
}

func newFixture(t *testing.T) *fixture {
	b := &fixture{t: t, proc: newProc(t), changed: make(chan struct{}, 1), exits: map[int]func(){}, ended: make(chan error, 1)}
	dir := t.TempDir()
	b.conf, b.pidFile = filepath.Join(dir, "xl2tpd.conf"), filepath.Join(dir, "xl2tpd.pid")
	b.answer = func(string) ([]netip.Addr, error) { return nil, errors.New("no such host") }
	b.w = &Watcher{
		ConfPath: b.conf,
		Log:      slog.New(slog.NewTextHandler(&b.log, nil)),
		Deliver: func(s Snapshot) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.got = append(b.got, s)
		},
		sys: &system{
			procs: procs{b.proc.root, func(_ context.Context, unit string) (string, error) {
				b.units = append(b.units, unit)
				return b.unitDir, nil
			}},
			confs:    confPaths{filepath.Join(dir, "usual.conf"), filepath.Join(dir, "old.conf")},
			pidFiles: []string{b.pidFile},
			readFile: os.ReadFile,
			lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
				b.mu.Lock()
				b.lookups = append(b.lookups, host)
				answer := b.answer
				b.mu.Unlock()
				return answer(host)
			},
			connectionName: func(ctx context.Context, uuid string) (string, error) {
				<-ctx.Done()
				return "", ctx.Err()
			},
			watchFiles: func() (filewatch.Watch, error) {
				return filewatch.Watch{C: b.changed, Check: func(p ...string) { b.checked = p }, Close: func() {}}, nil
			},
			waitExit: func(pid int, ended func()) (func(), error) {
				b.exits[pid] = ended
				return func() { b.stopped++ }, nil
			},
			peers: func() (map[uint16]netip.AddrPort, error) {
				b.asked++
				return map[uint16]netip.AddrPort{0x64: netip.MustParseAddrPort("203.0.113.1:1701")}, nil
			},
		},
	}
	return b
}

// start starts an xl2tpd: with the first file, unless the arguments say another.
func (f *fixture) start(pid int, start int64, args ...string) {
	f.t.Helper()
	f.proc.add(pid, 1, "xl2tpd", "S", start, "self", append([]string{"xl2tpd", "-c", f.conf}, args...)...)
}

// end ends an xl2tpd that is not reaped yet: the pidfd reports it, and its entry in /proc is still there.
func (f *fixture) end(pid int) {
	f.t.Helper()
	go f.exits[pid]()
}

// look hints, and returns the snapshot that comes of it.
func (f *fixture) look() Snapshot {
	f.t.Helper()
	f.w.Look()
	return f.take()
}

func (f *fixture) put(path, text string) {
	f.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) run() {
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	go func() { f.ended <- f.w.Run(ctx) }()
	synctest.Wait()
}

func (f *fixture) stop() {
	f.t.Helper()
	f.cancel()
	if err := <-f.ended; !errors.Is(err, context.Canceled) {
		f.t.Errorf("Run: %v", err)
	}
}

// take returns the one snapshot delivered since the last take.
func (f *fixture) take() Snapshot {
	f.t.Helper()
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.got) != 1 {
		f.t.Fatalf("%d snapshots, want 1: %+v", len(f.got), f.got)
	}
	s := f.got[0]
	f.got = nil
	return s
}

func (f *fixture) none() {
	f.t.Helper()
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.got) != 0 {
		f.t.Fatalf("snapshots where none should be: %+v", f.got)
	}
}

func (f *fixture) answers(answer func(string) ([]netip.Addr, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func TestConfIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		b.run()
		s := b.take()
		if h := s.Home(); len(s.Instances) != 1 || h.Key != (Key{b.conf, DefaultPipe, 0}) || h.Conf != nil ||
			!errors.Is(h.ConfErr, os.ErrNotExist) || h.Runs() || s.Sessions != nil {
			t.Errorf("got %+v, want the first instance, without a file and a process", s)
		}
		// Three notices in a row: one look, 100 ms after the last.
		b.put(b.conf, "[lac a]\nredial = ye")
		b.changed <- struct{}{}
		time.Sleep(filewatch.WriteDelay - 1)
		b.put(b.conf, "[lac a]\nredial = yes\n")
		b.changed <- struct{}{}
		time.Sleep(filewatch.WriteDelay - 1)
		b.none()
		time.Sleep(1)
		if s := b.take().Home(); s.ConfErr != nil || !s.Conf.Sections[0].Redial {
			t.Errorf("got %+v, want the new file", s)
		}
		// Wrong: the last good one stays, one line in the log.
		b.put(b.conf, "[lac a]\nredial = maybe\n")
		bad := b.look().Home()
		var e *xl2tpdconf.Error
		if !errors.As(bad.ConfErr, &e) || e.Line != 2 || bad.Conf == nil || !bad.Conf.Sections[0].Redial {
			t.Errorf("got %+v, want the mistake in line 2, and the last good file", bad)
		}
		time.Sleep(time.Minute)
		b.none()
		if n := strings.Count(b.log.String(), "maybe"); n != 1 {
			t.Errorf("%d log lines:\n%s", n, b.log.String())
		}
		// Fixed without a notice from inotify: the slow look sees it.
		b.put(b.conf, "[lac b]\n")
		time.Sleep(filewatch.SlowLook)
		if s := b.take().Home(); s.ConfErr != nil || s.Conf.Sections[0].Name != "b" {
			t.Errorf("got %+v, want the replaced file", s)
		}
		if !slices.Equal(b.checked, []string{b.conf, b.pidFile}) {
			t.Errorf("watched: %v", b.checked)
		}
		// A restart of the task delivers everything again, with the last good file.
		b.put(b.conf, "[lac")
		b.stop()
		b.run()
		if s := b.take().Home(); s.Conf == nil || s.Conf.Sections[0].Name != "b" || s.ConfErr == nil {
			t.Errorf("got %+v, want an error, and the last good file", s)
		}
		b.stop()
	})
}

func TestProcessIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		b.put(b.conf, "")
		b.start(77, 5)
		b.run()
		if s := b.take().Home(); s.Process != (procfs.ID{Pid: 77, Start: 5}) {
			t.Errorf("got %+v, want the process that has come", s)
		}
		start := time.Now()
		b.end(77)
		if s := b.take().Home(); s.Runs() || time.Since(start) != 0 {
			t.Errorf("%+v after %v", s, time.Since(start))
		}
		time.Sleep(2 * filewatch.SlowLook)
		b.none()
		// A new one under another pid, told by the pid file.
		b.start(78, 9)
		b.changed <- struct{}{}
		time.Sleep(filewatch.WriteDelay)
		if s := b.take().Home(); s.Process.Pid != 78 {
			t.Errorf("got %+v, want the new process", s)
		}
		// Gone without a notice from the pidfd, as on an old kernel.
		b.proc.remove(78)
		b.proc.remove(77)
		time.Sleep(filewatch.SlowLook)
		if s := b.take().Home(); s.Runs() {
			t.Errorf("got %+v, want no process", s)
		}
		// The same pid again is another process.
		b.start(77, 11)
		if s := b.look().Home(); s.Process != (procfs.ID{Pid: 77, Start: 11}) {
			t.Errorf("got %+v, want the pid with its new start", s)
		}
		b.stop()
		if b.stopped != 3 {
			t.Errorf("%d of 3 waits ended", b.stopped)
		}
	})
}

// The pid may pass on to another process before the wait for its end begins.
func TestEndedBeforeTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		b.put(b.conf, "")
		b.start(77, 5)
		b.w.sys.waitExit = func(pid int, _ func()) (func(), error) {
			b.proc.remove(pid)
			b.start(pid, 6)
			return func() { b.stopped++ }, nil
		}
		b.run()
		if s := b.take().Home(); s.Runs() || b.stopped != 1 {
			t.Errorf("%+v, %d waits ended", s, b.stopped)
		}
		b.stop()
	})
}

// An end is often a restart: the new process is looked for soon after.
func TestRestartIsSeenSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		b.put(b.conf, "")
		b.start(77, 5)
		b.run()
		b.take()
		b.end(77)
		b.take()
		b.start(78, 6)
		time.Sleep(filewatch.WriteDelay)
		if s := b.take().Home(); s.Process.Pid != 78 {
			t.Errorf("got %+v, want the new process", s)
		}
		b.stop()
	})
}

func TestSystemWithoutPidfdAndInotify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		b.w.sys.waitExit = func(int, func()) (func(), error) { return nil, errors.New("function not implemented") }
		b.w.sys.watchFiles = func() (filewatch.Watch, error) { return filewatch.Watch{}, errors.New("too many open files") }
		b.start(77, 5)
		b.run()
		if s := b.take().Home(); s.Process.Pid != 77 {
			t.Errorf("got %+v, want the process with pid 77", s)
		}
		b.put(b.conf, "")
		b.proc.remove(77)
		time.Sleep(filewatch.BlindLook)
		if s := b.take().Home(); s.Runs() || s.Conf == nil {
			t.Errorf("got %+v, want no process, and the file", s)
		}
		b.stop()
		for _, want := range []string{"function not implemented", "too many open files"} {
			if n := strings.Count(b.log.String(), want); n != 1 {
				t.Errorf("%q is %d times in the log:\n%s", want, n, b.log.String())
			}
		}
	})
}

// If the wait for the end of an xl2tpd fails once, for want of file descriptors for example, it is begun later.
func TestFollowsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		waitExit, fails := b.w.sys.waitExit, true
		b.w.sys.waitExit = func(pid int, ended func()) (func(), error) {
			if fails {
				fails = false
				return nil, errors.New("too many open files")
			}
			return waitExit(pid, ended)
		}
		b.put(b.conf, "")
		b.start(77, 5)
		b.run()
		b.take()
		time.Sleep(filewatch.BlindLook)
		b.none()
		b.end(77)
		if s := b.take().Home(); s.Runs() {
			t.Errorf("got %+v, want no process", s)
		}
		b.stop()
	})
}

// The same may happen before that later wait begins.
func TestEndedBeforeALaterWait(t *testing.T) {
	for name, next := range map[string]string{"another xl2tpd has the pid": "xl2tpd", "another program has it": "sshd", "nobody has it": ""} {
		synctest.Test(t, func(t *testing.T) {
			b := newFixture(t)
			waitExit, waits := b.w.sys.waitExit, 0
			b.w.sys.waitExit = func(pid int, ended func()) (func(), error) {
				switch waits++; waits {
				case 1:
					return nil, errors.New("too many open files")
				case 2:
					b.proc.remove(pid)
					if next != "" {
						b.proc.add(pid, 1, next, "S", 6, "self", next, "-c", b.conf)
					}
				}
				return waitExit(pid, ended)
			}
			b.put(b.conf, "")
			b.start(77, 5)
			b.run()
			b.take()
			time.Sleep(filewatch.BlindLook)
			want := procfs.ID{}
			if next == "xl2tpd" {
				want = procfs.ID{Pid: 77, Start: 6}
			}
			if s := b.take().Home(); s.Process != want || b.stopped != 1 {
				t.Errorf("%s: got %+v and %d waits ended, want %+v and 1", name, s.Process, b.stopped, want)
			}
			b.stop()
		})
	}
}

// The log says once that the end of a process can't be waited for, whatever becomes of other processes.
func TestComplainsOfAWaitOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		waitExit, fail := b.w.sys.waitExit, map[int]error{77: errors.New("too many open files"), 80: errors.New("no memory")}
		b.w.sys.waitExit = func(pid int, ended func()) (func(), error) {
			b.mu.Lock()
			err := fail[pid]
			b.mu.Unlock()
			if err != nil {
				return nil, err
			}
			return waitExit(pid, ended)
		}
		set := func(pid int, err error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			fail[pid] = err
		}
		logged := func(want ...int) {
			t.Helper()
			synctest.Wait()
			b.mu.Lock()
			defer b.mu.Unlock()
			got := []int{strings.Count(b.log.String(), "too many open files"), strings.Count(b.log.String(), "no memory")}
			if !slices.Equal(got, want) {
				t.Errorf("logged %v times, want %v", got, want)
			}
		}
		b.put(b.conf, "")
		b.start(76, 4)
		b.start(77, 5)
		b.start(78, 6)
		b.run()
		logged(1, 0)
		b.end(76)
		time.Sleep(2 * filewatch.BlindLook)
		b.start(79, 7)
		time.Sleep(filewatch.SlowLook)
		logged(1, 0)
		b.start(80, 8) // for another reason
		time.Sleep(2 * filewatch.SlowLook)
		logged(1, 0)
		set(77, nil)
		time.Sleep(2 * filewatch.SlowLook)
		logged(1, 1)
		set(80, nil)
		time.Sleep(filewatch.SlowLook)
		set(81, errors.New("too many open files")) // it fails again after all
		b.start(81, 9)
		time.Sleep(2 * filewatch.SlowLook)
		logged(2, 1)
		b.stop()
	})
}

func TestSessionsAndTheirPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		b.put(b.conf, "")
		b.proc.write("self/net/pppol2tp", pppol2tp)
		b.run()
		s := b.take()
		if len(s.Sessions) != 2 || s.Sessions[0].Peer.String() != "203.0.113.1:1701" || s.Sessions[1].Peer.IsValid() {
			t.Errorf("got %+v, want two sessions, the first one with its peer", s.Sessions)
		}
		// One tunnel stays unknown and is asked for again; once a look.
		b.w.Look()
		b.none()
		if b.asked != 2 {
			t.Errorf("asked %d times", b.asked)
		}
		one, _, _ := strings.Cut(pppol2tp, "TUNNEL 'tunl 7966'")
		_, two, _ := strings.Cut(pppol2tp, "\nTUNNEL 'tunl 100'")
		b.proc.write("self/net/pppol2tp", one+"\nTUNNEL 'tunl 100'"+two)
		b.w.Look()
		if s := b.take(); len(s.Sessions) != 1 || s.Sessions[0].Ifname != "ppp0" || b.asked != 2 {
			t.Errorf("%+v, asked %d times", s.Sessions, b.asked)
		}
		// The same local id, another tunnel.
		b.proc.write("self/net/pppol2tp", strings.ReplaceAll(one+"\nTUNNEL 'tunl 100'"+two, "FFFF/", "0001/"))
		b.w.Look()
		if s := b.take(); s.Sessions[0].PeerTunnel != 1 || b.asked != 3 {
			t.Errorf("%+v, asked %d times", s.Sessions, b.asked)
		}
		// Another device has its name.
		b.proc.write("self/net/pppol2tp", strings.ReplaceAll(one+"\nTUNNEL 'tunl 100'"+two, "interface ppp0", "interface lo"))
		b.w.Look()
		if s := b.take(); s.Sessions[0].Ifname != "lo" || s.Sessions[0].Ifindex != 1 {
			t.Errorf("got %+v, want the index of lo", s.Sessions)
		}
		if err := os.Remove(filepath.Join(b.proc.root, "self/net/pppol2tp")); err != nil {
			t.Fatal(err)
		}
		b.w.Look()
		if s := b.take(); s.Sessions != nil {
			t.Errorf("got %+v, want no sessions", s.Sessions)
		}
		b.stop()
		if b.log.Len() != 0 {
			t.Errorf("logged: %s", b.log.String())
		}
	})
}

func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		b.put(b.conf, "[lac a]\nlns = vpn.example.net\nlns = backup.example.net\n[lac b]\nlns = 192.0.2.7\n[lac c]\nlns=vpn.example.net\n")
		b.answer = func(string) ([]netip.Addr, error) {
			time.Sleep(time.Second)
			return nil, errors.New("server misbehaving")
		}
		ips := func(s Snapshot) string {
			var out []string
			for _, s := range s.Home().Conf.Sections {
				for _, a := range s.LNSIPs {
					out = append(out, s.Name+"="+a.String())
				}
				if s.Unresolved {
					out = append(out, s.Name+" fails")
				}
			}
			return strings.Join(out, " ")
		}
		b.run()
		if got := ips(b.take()); got != "b=192.0.2.7" { // immediately: no look waits for a name
			t.Errorf("got %q", got)
		}
		time.Sleep(1500 * time.Millisecond)
		if got := ips(b.take()); got != "a fails b=192.0.2.7 c fails" {
			t.Errorf("got %q", got)
		}
		time.Sleep(1500 * time.Millisecond)
		b.none()
		b.answers(func(string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("::ffff:192.0.2.1")}, nil
		})
		time.Sleep(3*time.Second + filewatch.SlowLook)
		if got := ips(b.take()); got != "a=192.0.2.1 a=192.0.2.2 b=192.0.2.7 c=192.0.2.1 c=192.0.2.2" {
			t.Errorf("got %q", got)
		}
		if len(b.lookups) != 2 {
			t.Errorf("lookups: %v", b.lookups)
		}
		// It moves; a tunnel may still be up to the old address.
		b.answers(func(string) ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("192.0.2.9")}, nil })
		time.Sleep(lookupAgain + filewatch.SlowLook)
		if got := ips(b.take()); got != "a=192.0.2.9 a=192.0.2.1 a=192.0.2.2 b=192.0.2.7 c=192.0.2.9 c=192.0.2.1 c=192.0.2.2" {
			t.Errorf("got %q", got)
		}
		// It moves back, and somebody needs to know soon.
		b.answers(func(string) ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil })
		synctest.Wait()
		looked := len(b.lookups)
		b.w.Resolve("unknown.example")
		b.w.Resolve("vpn.example.net")
		time.Sleep(time.Second)
		if got := ips(b.take()); got != "a=192.0.2.1 a=192.0.2.9 a=192.0.2.2 b=192.0.2.7 c=192.0.2.1 c=192.0.2.9 c=192.0.2.2" {
			t.Errorf("got %q", got)
		}
		for range 10 {
			b.w.Resolve("vpn.example.net")
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if n := len(b.lookups) - looked; n < 2 || n > 4 {
			t.Errorf("%d lookups in 11 s", n)
		}
		// Run does not wait for a name either.
		b.w.sys.lookup = func(ctx context.Context, _ string) ([]netip.Addr, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		b.stop()
		b.got = nil
		b.run()
		start := time.Now()
		b.stop()
		if time.Since(start) != 0 {
			t.Errorf("Run returned after %v", time.Since(start))
		}
	})
}

// A host that moves all the time does not fill the memory: its oldest addresses go.
func TestNamesAreBounded(t *testing.T) {
	const name = "vpn.example.net"
	nth := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) }
	r := resolver{hosts: map[string]*host{name: {}}}
	for i := range 2 * lookupKeep {
		r.take(answer{host: name, addrs: []netip.Addr{nth(i)}}, time.Time{})
	}
	got := r.hosts[name].addrs
	if len(got) != lookupKeep || got[0] != nth(2*lookupKeep-1) || got[lookupKeep-1] != nth(lookupKeep) {
		t.Errorf("%d addresses: %v", len(got), got)
	}
}

// The real sources of this system, whatever it has: Run starts, delivers, ends.
func TestRunOnThisSystem(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan Snapshot, 8)
	w := &Watcher{ConfPath: filepath.Join(t.TempDir(), "x.conf"), Log: slog.New(slog.DiscardHandler), Deliver: func(s Snapshot) { got <- s }}
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	if s := (<-got).Home(); s.Conf != nil || !errors.Is(s.ConfErr, os.ErrNotExist) {
		t.Errorf("got %+v, want no file", s)
	}
	if err := os.WriteFile(w.ConfPath, []byte("[lac a]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := (<-got).Home(); s.Conf == nil || s.ConfErr != nil {
		t.Errorf("got %+v, want the file", s)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Started and ended again and again, with a real process to wait for, it leaves
// no file descriptor behind.
func TestNothingLeaks(t *testing.T) {
	p := newProc(t)
	pid := os.Getpid()
	p.add(pid, 1, "xl2tpd", "S", 5, "self", "xl2tpd")
	once := func() {
		ctx, cancel := context.WithCancel(t.Context())
		w := &Watcher{Log: slog.New(slog.DiscardHandler), sys: theSystem()}
		w.sys.procs.root = p.root
		w.Deliver = func(s Snapshot) {
			if s.of(pid) == nil {
				t.Errorf("got %+v, want this process", s)
			}
			cancel()
		}
		if err := w.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	open := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	once()
	before := open()
	for range 50 {
		once()
	}
	if after := open(); after != before {
		t.Errorf("%d file descriptors, %d before", after, before)
	}
}
