package probe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"runtime"
	"slices"
	"time"

	probing "github.com/prometheus-community/pro-bing"
	"golang.org/x/sys/unix"
)

// pingRun is the life of one pinger of the library.
type pingRun struct {
	*Ping   // its mu guards all below
	lib     *probing.Pinger
	retired chan struct{} // closed once nothing more is sent
	cancel  context.CancelFunc
	last    *time.Timer // cancels when the last reply is overdue; nil: not retired yet
	bound   bool        // the socket is open
	tried   bool        // an echo request was sent, or could not be
	open    map[int]request
}

// request is an echo request that is under way. pingRun.open maps the library's numbers to them. Wait and Interval
// limit how many there are.
type request struct {
	seq int
	at  time.Time
}

func (p *Ping) newRun() *pingRun {
	r := &pingRun{Ping: p, lib: probing.New(""), retired: make(chan struct{}), open: map[int]request{}}
	lib := r.lib
	lib.SetIPAddr(&net.IPAddr{IP: p.Target.Unmap().AsSlice()})
	lib.SetPrivileged(true)
	lib.SetDoNotFragment(p.DontFragment)
	lib.SetLogger(quiet{r})
	lib.InterfaceName = p.Link
	if p.Source.IsValid() {
		lib.Source = p.Source.String()
	}
	lib.Count, lib.Interval, lib.Size = min(p.left(), longestRun), p.Interval, p.Size
	lib.RecordRtts, lib.RecordTTLs = false, false // they would grow without end
	lib.OnSetup, lib.OnSend, lib.OnRecv, lib.OnSendError = r.setUp, r.sent, r.received, r.failed
	return r
}

// do runs the pinger until all of its echo requests have ended.
func (r *pingRun) do(outer context.Context) {
	ctx, cancel := context.WithCancel(outer)
	defer cancel()
	r.cancel = cancel
	err := r.lib.RunWithContext(ctx)

	r.mu.Lock()
	defer r.mu.Unlock()
	r.retire()
	r.last.Stop()
	if outer.Err() != nil {
		return
	}
	r.expire(0)
	switch {
	case err == nil || r.tried:
	case !r.bound && errors.Is(err, fs.ErrPermission):
		r.denied = ErrPermission
	default:
		r.fail(err)
	}
}

// retire marks that nothing more is sent, and limits the wait for replies.
func (r *pingRun) retire() {
	if r.last == nil {
		r.last = time.AfterFunc(r.Wait, r.cancel)
		close(r.retired)
	}
}

// expire ends the requests that have been under way for at least age.
func (r *pingRun) expire(age time.Duration) {
	for _, n := range slices.Sorted(maps.Keys(r.open)) {
		if q := r.open[n]; time.Since(q.at) >= age {
			delete(r.open, n)
			r.finish(Pong{Seq: q.seq, Err: fmt.Errorf("%w within %v", ErrTimeout, r.Wait)})
		}
	}
}

// fail ends an echo request that could not be sent.
func (r *pingRun) fail(err error) {
	r.tried = true
	r.seq++
	r.finish(Pong{Seq: r.seq, Err: r.unsent(err)})
}

// unsent returns a short reason why nothing was sent.
func (r *pingRun) unsent(err error) error {
	var no unix.Errno
	if _, missing := net.InterfaceByName(r.Link); r.Link != "" && missing != nil || errors.Is(err, unix.ENODEV) {
		return ErrGone
	}
	if errors.As(err, &no) {
		err = no
	}
	return fmt.Errorf("%w: %w", ErrSend, err)
}

// The library calls these four. The last three come from one goroutine, the one that sends.

func (r *pingRun) setUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bound = true
}

func (r *pingRun) sent(p *probing.Packet) {
	at := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried = true
	r.seq++
	r.expire(r.Wait)
	r.open[p.Seq] = request{r.seq, at}
	if p.Seq+1 == r.lib.Count {
		r.retire()
	}
}

func (r *pingRun) received(p *probing.Packet) {
	at := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	q, ok := r.open[p.Seq]
	if !ok {
		return // too late
	}
	delete(r.open, p.Seq)
	r.finish(Pong{Seq: q.seq, Size: p.Nbytes, RTT: at.Sub(q.at)})
}

// failed makes the pinger stop sending: after some errors it would never send again. It still waits for replies.
func (r *pingRun) failed(_ *probing.Packet, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail(err)
	r.lib.Count = max(1, r.lib.PacketsSent)
	r.retire()
}

// quiet is the logger of a pinger. It logs nothing: callbacks report the failures.
type quiet struct{ *pingRun }

// Infof is called each time the kernel refuses a packet with EACCES, as by a prohibit route. The library takes the
// target for a broadcast address then, and tries again without a pause and without a look at its context. Only the
// end of its goroutine ends that.
func (q quiet) Infof(string, ...any) {
	q.failed(nil, unix.EACCES)
	runtime.Goexit()
}

func (quiet) Debugf(string, ...any) {}
func (quiet) Warnf(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) {}
