package main

import (
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func testPPPD(path string) pppd {
	return pppd{path: path, local: netip.MustParseAddr("10.0.0.1"), mtu: 1258, auth: "none", name: "us", log: slog.New(slog.DiscardHandler)}
}

func TestArguments(t *testing.T) {
	p := testPPPD("pppd")
	client, assigned := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("10.0.0.10")
	line := strings.Join(p.arguments(3, 4, client, assigned), " ")
	for _, want := range []string{
		"plugin pppol2tp.so pppol2tp 3 pppol2tp_lns_mode pppol2tp_tunnel_id 3 pppol2tp_session_id 4",
		"lcp-echo-interval 0 lcp-echo-failure 0", "10.0.0.1:10.0.0.10", "ipparam 192.0.2.1", "noauth", "mtu 1258 mru 1258",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("no %q in %q", want, line)
		}
	}
	p.auth = "mschap-v2"
	args := p.arguments(3, 4, client, assigned)
	if slices.Contains(args, "noauth") || !strings.HasSuffix(strings.Join(args, " "), "auth require-mschap-v2 name us") {
		t.Errorf("with authentication: %q", args)
	}
}

// script is a fake pppd.
func script(t *testing.T, body string) pppd {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pppd")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o700); err != nil {
		t.Fatal(err)
	}
	return testPPPD(path)
}

// launch starts p with an open file for a socket; news come on the channel.
func launch(t *testing.T, p pppd) (dataSession, chan pppNews) {
	t.Helper()
	news := make(chan pppNews, 4)
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s, err := p.start(file, 3, 4, p.local, p.local, func(n pppNews) { news <- n })
	if err != nil {
		t.Fatal(err)
	}
	return s, news
}

func next(t *testing.T, news chan pppNews) pppNews {
	t.Helper()
	select {
	case n := <-news:
		return n
	case <-time.After(20 * time.Second):
		t.Fatal("no news of pppd")
		panic("unreachable")
	}
}

func TestPPPDNews(t *testing.T) {
	defer goleak.VerifyNone(t)
	_, news := launch(t, script(t, `[ -e /proc/self/fd/3 ] || exit 9
printf 'Using interface '
printf 'ppp7\nConnect: ppp7 <--> \n\nlocal  IP address 10.0.0.1\nremote IP address 10.0.0.10\nLCP terminated by peer\n'
exit 16
`))
	if got, want := next(t, news), (pppNews{iface: "ppp7", local: "10.0.0.1", assigned: "10.0.0.10"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := next(t, news), (pppNews{ended: true, detail: "pppd: exit status 16. LCP terminated by peer"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestPPPDStop(t *testing.T) {
	defer goleak.VerifyNone(t)
	s, news := launch(t, script(t, "exec sleep 60\n"))
	s.stop()
	if got := next(t, news); !got.ended || !strings.Contains(got.detail, "terminated") {
		t.Errorf("got %+v", got)
	}
}

// One that is deaf to SIGTERM is killed.
func TestPPPDStopByForce(t *testing.T) {
	defer goleak.VerifyNone(t)
	s, news := launch(t, script(t, `trap '' TERM
echo 'remote IP address 10.0.0.10'
exec sleep 60
`))
	next(t, news) // the trap is set
	s.stop()
	if got := next(t, news); !got.ended || !strings.Contains(got.detail, "killed") {
		t.Errorf("got %+v", got)
	}
}

func TestPPPDMissing(t *testing.T) {
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p := testPPPD(filepath.Join(t.TempDir(), "pppd"))
	if _, err := p.start(file, 1, 2, p.local, p.local, nil); err == nil {
		t.Error("started a pppd that is not there")
	}
}

// When the LNS is killed, pppd ends too. The killed one is this test binary, run
// again; the writing end of the FIFO is open as long as its pppd lives.
func TestPPPDDiesWithUs(t *testing.T) {
	const variable = "LNS_TEST_FIFO"
	if fifo := os.Getenv(variable); fifo != "" {
		_, news := launch(t, testPPPD(filepath.Join(filepath.Dir(fifo), "pppd")))
		<-news
		return
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	// Beside the FIFO: who is killed leaves a directory of its own behind.
	pppd := "#!/bin/sh\nexec >" + fifo + "; echo up; exec sleep 60\n"
	if err := os.WriteFile(filepath.Join(filepath.Dir(fifo), "pppd"), []byte(pppd), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestPPPDDiesWithUs$")
	cmd.Env = append(os.Environ(), variable+"="+fifo)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	alive, err := os.Open(fifo) // waits for the writer
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	if _, err := alive.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if _, err := alive.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("pppd lives on: %v", err)
	}
}
