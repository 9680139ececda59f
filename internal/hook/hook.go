// Package hook runs the executable that keepalive.conf names, at each event of a tunnel.
package hook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
)

const (
	// runTime is how long one run may take before it is killed.
	runTime = 30 * time.Second

	// maxAtOnce bounds the concurrent runs of all tunnels. The hooks of one tunnel
	// run one after the other.
	maxAtOnce = 8
	// maxWaiting bounds the waiting events of one tunnel.
	maxWaiting = 16
)

// Names of events.
const (
	Up      = "up"      // the link has its addresses
	Alive   = "alive"   // the far end has shown a sign of life, for the first time or again
	Silent  = "silent"  // the far end shows no sign of life any more
	Down    = "down"    // the link is gone, or down
	Recover = "recover" // the service has taken a step to bring the tunnel back
)

// Event is what a hook gets in its environment and as its only argument.
type Event struct {
	Path   string // the executable
	Name   string
	Tunnel string // section of xl2tpd.conf, such as "lac office"; empty: not known
	// Instance is the xl2tpd that has the tunnel; empty: there is only one.
	Instance string
	Peer     netip.Addr
	Link     string // pppN
	Local    netip.Addr
	Remote   netip.Addr
	Reason   string
}

// environ returns the hook's whole environment. The names are those of the
// journal's fields.
func (e Event) environ() []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "EVENT=" + e.Name}
	for name, value := range map[string]string{"TUNNEL": e.Tunnel, "INSTANCE": e.Instance, "LINK": e.Link, "REASON": e.Reason} {
		if value != "" {
			env = append(env, name+"="+strings.Map(printable, value))
		}
	}
	for name, a := range map[string]netip.Addr{"PEER": e.Peer, "LOCAL": e.Local, "REMOTE": e.Remote} {
		if a.IsValid() {
			env = append(env, name+"="+a.String())
		}
	}
	return env
}

// printable replaces characters that would spread a peer's text over several lines.
func printable(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}

// key identifies the tunnel: events with the same key run in order. Callers share the
// name of their section.
func (e Event) key() string {
	if strings.HasPrefix(e.Tunnel, "lac ") {
		return e.Instance + " " + e.Tunnel
	}
	return e.Link
}

// Runner runs hooks. The zero value with a Log is ready.
type Runner struct {
	Log *slog.Logger

	limit time.Duration // zero: runTime

	mu      sync.Mutex
	ctx     context.Context // nil: Run has not begun
	waiting map[string][]Event
	slots   chan struct{}
	wg      sync.WaitGroup
}

// Run lets hooks run until ctx ends. Then it kills the hooks that still run, and
// returns ctx's error.
func (r *Runner) Run(ctx context.Context) error {
	r.mu.Lock()
	r.ctx, r.waiting, r.slots = ctx, map[string][]Event{}, make(chan struct{}, maxAtOnce)
	r.mu.Unlock()
	<-ctx.Done()
	r.mu.Lock()
	r.ctx = nil
	r.mu.Unlock()
	r.wg.Wait()
	return ctx.Err()
}

// Call queues an event for its hook. It does not block. It drops events while Run
// does not run, and the oldest event of a tunnel beyond maxWaiting.
func (r *Runner) Call(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx == nil {
		return
	}
	key := e.key()
	all, working := r.waiting[key]
	if len(all) == maxWaiting {
		r.Log.Warn("hook is too slow: an event is dropped", "tunnel", key, "event", all[0].Name, "hook", e.Path)
		all = all[1:]
	}
	r.waiting[key] = append(all, e)
	if !working {
		ctx := r.ctx
		r.wg.Go(func() { r.work(ctx, key) })
	}
}

// work runs the hooks of one tunnel until no event waits.
func (r *Runner) work(ctx context.Context, key string) {
	for {
		r.mu.Lock()
		all := r.waiting[key]
		if len(all) == 0 || ctx.Err() != nil {
			delete(r.waiting, key)
			r.mu.Unlock()
			return
		}
		e := all[0]
		r.waiting[key] = all[1:]
		r.mu.Unlock()

		select {
		case r.slots <- struct{}{}:
			r.run(ctx, e)
			<-r.slots
		case <-ctx.Done():
		}
	}
}

func (r *Runner) run(ctx context.Context, e Event) {
	err := Check(e.Path)
	if err == nil {
		err = execute(ctx, e, cmp.Or(r.limit, runTime))
	}
	if err != nil && ctx.Err() == nil {
		r.Log.Warn("hook failed", "tunnel", e.key(), "event", e.Name, "reason", err.Error())
	}
}

// execute runs the hook in its own process group. No process of that group is left when
// it returns.
func execute(ctx context.Context, e Event, limit time.Duration) error {
	slow := fmt.Errorf("%s: killed after %v", e.Path, limit)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, slow)
	defer cancel()
	cmd := exec.CommandContext(ctx, e.Path, e.Name)
	cmd.Env, cmd.Dir = e.environ(), "/"
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	group := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = group
	err := cmd.Run()
	if cmd.Process != nil {
		group() // kills what the hook has left in the background
	}
	if cause := context.Cause(ctx); errors.Is(cause, slow) {
		return cause
	}
	if err != nil {
		return fmt.Errorf("%s: %w", e.Path, err)
	}
	return nil
}
