// Package ppp watches pppd's links: which pppN devices belong to an xl2tpd, whether they are up, and with which
// addresses.
//
// The package does not rely on events. systemd's device units (over D-Bus) and rtnetlink's multicast groups are only
// hints to look again. Each look reads the whole state from the kernel, pppd's pid files and /proc.
package ppp

import (
	"context"
	"io/fs"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"xl2tpd-keepalive/internal/procfs"
)

// Link is one PPP device whose pppd is a child of an xl2tpd.
type Link struct {
	Name  string // network device, usually pppN
	Index int    // its interface index; a new device never reuses the old one's

	// Raised: pppd has brought the device up, perhaps for IPv6 only.
	// Up: the device also has both IPv4 addresses.
	Raised, Up bool

	Local netip.Addr // own IPv4 address; invalid before IPCP is done
	Peer  netip.Addr // the far end's IPv4 address; invalid before IPCP is done

	Pid       int       // pppd
	Xl2tpdPid int       // its parent
	Started   time.Time // when pppd was started, to 10 ms; zero if unknown

	OptFile string // pppd's `file` argument: xl2tpd's `pppoptfile`
	// OuterPeer is pppd's `ipparam` argument, the tunnel's outer peer address.
	// xl2tpd passes it only with `pass peer = yes`; invalid otherwise.
	OuterPeer netip.Addr
	TTY       string // "/dev/pts/N" in userspace mode, "" in kernel mode
}

// Sources reports which of the two sources of hints work. A source that has not
// reported yet counts as working. With either source the Watcher sees a change
// within milliseconds; with neither, within a second.
type Sources struct {
	DBus      bool // systemd's device units
	Rtnetlink bool // the kernel's link and address groups
	NoSystemd bool // DBus does not work because systemd has not started this host, as in most containers
}

// Snapshot is all that is known of xl2tpd's links at one moment.
type Snapshot struct {
	Links   []Link // by index
	Sources Sources
	// Lost holds the pids of xl2tpd's pppds whose device is not known: their pid files lie in
	// another /run, such as a container's.
	Lost []int
}

// Watcher delivers snapshots of xl2tpd's links.
type Watcher struct {
	Log *slog.Logger
	// Deliver is called from Run's goroutine with a full snapshot: soon after
	// Run starts, whenever something has changed, and at least every few
	// minutes (resync). It must not block.
	Deliver func(Snapshot)

	kernel kernel

	// Tests replace these; zero means the real thing.
	streamDBus, streamRtnetlink stream
	root                        fs.FS
}

// Run watches until ctx ends, and then returns ctx's error. Run restarts a source
// of hints that fails. Run itself fails only when the links can't be read at all.
// It may be called again after it has returned.
func (w *Watcher) Run(ctx context.Context) error {
	w.kernel.keep(true)
	defer w.kernel.keep(false)

	l := &loop{
		log:     w.Log,
		deliver: w.Deliver,
		changes: make(chan change),
	}
	o := pppdFinder{root: w.root}
	if o.root == nil {
		o.root = procfs.Root()
	}
	p := exitWatcher{hint: l.again.Send}
	defer p.close()
	l.read = func() (state, error) {
		v, err := readState(&w.kernel, &o)
		if err == nil {
			p.follow(v.links)
		}
		return v, err
	}

	l.findPppds = o.lost

	dbus, rtnetlink := w.streamDBus, w.streamRtnetlink
	if dbus == nil {
		dbus = streamDBus
	}
	if rtnetlink == nil {
		rtnetlink = streamRtnetlink
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { l.feed(ctx, sourceDBus, dbus) })
	wg.Go(func() { l.feed(ctx, sourceRtnetlink, rtnetlink) })
	return l.run(ctx)
}

// Received returns how many packets each of the devices with these indexes has
// received so far. It may be called from any goroutine at any time. The error of
// a device that is gone is ENODEV.
func (w *Watcher) Received(indexes []int) []Count { return w.kernel.received(indexes) }

func same(a, b Snapshot) bool {
	return a.Sources == b.Sources && slices.Equal(a.Links, b.Links) && slices.Equal(a.Lost, b.Lost)
}
