package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// obey is how long pppd may take to end on SIGTERM.
const obey = 2 * time.Second

// pppd says how to run pppd.
type pppd struct {
	path  string
	local netip.Addr // PPP address of the LNS
	mtu   int
	auth  string // "none", or what is required of the client: "pap", "chap", "mschap-v2"
	name  string // the LNS's name in the secrets files
	log   *slog.Logger
}

// arguments of one session's pppd. pppd reads /etc/ppp/options before them,
// so whatever a distribution may have put there is set back here; Debian has
// LCP echoes, which would feed the idle timers of both ends.
func (p pppd) arguments(tunnel, session uint16, client, assigned netip.Addr) []string {
	args := []string{
		"plugin", "pppol2tp.so", "pppol2tp", "3",
		"pppol2tp_lns_mode",
		"pppol2tp_tunnel_id", strconv.Itoa(int(tunnel)),
		"pppol2tp_session_id", strconv.Itoa(int(session)),
		"nodetach", "logfd", "1",
		"lcp-echo-interval", "0", "lcp-echo-failure", "0",
		"nodefaultroute", "noproxyarp", "nopersist",
		"noccp", "noipv6",
		"mtu", strconv.Itoa(p.mtu), "mru", strconv.Itoa(p.mtu),
		"ipparam", client.String(),
		p.local.String() + ":" + assigned.String(),
	}
	if p.auth == "none" {
		return append(args, "noauth")
	}
	return append(args, "auth", "require-"+p.auth, "name", p.name)
}

type pppdSession struct{ process *os.Process }

// start runs pppd on a PPPoL2TP socket; it gets a copy of the descriptor.
func (p pppd) start(socket *os.File, tunnel, session uint16, client, assigned netip.Addr, news func(pppNews)) (dataSession, error) {
	cmd := exec.Command(p.path, p.arguments(tunnel, session, client, assigned)...)
	cmd.ExtraFiles = []*os.File{socket} // descriptor 3
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid: true, // the LNS itself handles a ^C at the terminal
		// The end of a tunnel in the kernel does not end pppd. If this process
		// is killed, Pdeathsig does.
		Pdeathsig: syscall.SIGTERM,
	}
	cmd.WaitDelay = obey
	output := &pppdOutput{log: p.log.With("session", session), news: news}
	cmd.Stdout, cmd.Stderr = output, output
	started := make(chan error)
	go func() {
		// Pdeathsig is about the thread that starts the child, so it stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // what there is to say is in ProcessState
		news(pppNews{ended: true, detail: strings.TrimSpace(fmt.Sprintf("pppd: %s. %s", cmd.ProcessState, output.lastLine()))})
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start pppd: %w", err)
	}
	return pppdSession{cmd.Process}, nil
}

// stop ends pppd: kindly, then with force. Both fail harmlessly when it has
// ended by itself.
func (s pppdSession) stop() {
	_ = s.process.Signal(syscall.SIGTERM)
	time.AfterFunc(obey, func() { _ = s.process.Kill() })
}

// pppdOutput reads what pppd prints, line by line.
type pppdOutput struct {
	log  *slog.Logger
	news func(pppNews)

	mu      sync.Mutex // a writer outlives Wait when a child of pppd has its output
	partial []byte
	up      pppNews
	last    string
}

func (o *pppdOutput) lastLine() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}

// Write implements io.Writer; it never fails.
func (o *pppdOutput) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.partial = append(o.partial, b...)
	for {
		line, rest, ok := bytes.Cut(o.partial, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		o.partial = rest
		o.line(strings.TrimSpace(string(line)))
	}
}

func (o *pppdOutput) line(line string) {
	if line == "" {
		return
	}
	o.last = line
	o.log.Debug("pppd", "line", line)
	if rest, ok := strings.CutPrefix(line, "Using interface "); ok {
		o.up.iface = rest
	}
	if rest, ok := strings.CutPrefix(line, "local  IP address "); ok {
		o.up.local = rest
	}
	// The last line of IPCP's coming up.
	if rest, ok := strings.CutPrefix(line, "remote IP address "); ok {
		o.up.assigned = rest
		o.news(o.up)
	}
}
