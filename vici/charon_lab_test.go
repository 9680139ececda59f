//go:build lab

package vici

import (
	"context"
	_ "embed"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

//go:embed testdata/charons.sh
var charonsScript []byte

// charons sets up two real charons and takes them down with the test.
func charons(t *testing.T) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "charons.sh")
	if err := os.WriteFile(script, charonsScript, 0o700); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	t.Cleanup(func() { shell(t, script, "down") })
	shell(t, script, "up")
	t.Logf("both charons up in %s", time.Since(begin).Round(time.Millisecond))
}

func shell(t *testing.T, args ...string) string {
	t.Helper()
	var out, noise strings.Builder // swanctl names each plugin that it lacks
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &noise
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, &out, &noise)
	}
	return strings.TrimSpace(out.String())
}

type delivery struct {
	Snapshot
	at time.Time
}

// observe runs a watcher, and runs it again 0.1 s after each failure.
func observe(t *testing.T) <-chan delivery {
	t.Helper()
	snaps := make(chan delivery, 1000)
	w := &Watcher{
		Log:     slog.New(slog.DiscardHandler),
		Deliver: func(s Snapshot) { snaps <- delivery{s, time.Now()} },
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		last := ""
		for ctx.Err() == nil {
			if err := w.Run(ctx); !errors.Is(err, context.Canceled) && err.Error() != last {
				last = err.Error()
				t.Logf("run again after: %v", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return snaps
}

// await returns the first snapshot that is as wanted and not older than since.
func await(t *testing.T, snaps <-chan delivery, since time.Time, what string, want func(Snapshot) bool) delivery {
	t.Helper()
	limit := time.After(30 * time.Second)
	var last Snapshot
	for {
		select {
		case d := <-snaps:
			if last = d.Snapshot; d.at.After(since) && want(last) {
				return d
			}
		case <-limit:
			t.Fatalf("no snapshot with %s in 30 s; the last: %+v", what, last)
		}
	}
}

func installed(s Snapshot) bool {
	return len(s.SAs) == 1 && s.stable() && len(s.SAs[0].Children) == 1
}

func none(s Snapshot) bool { return len(s.SAs) == 0 }

func TestRealSA(t *testing.T) {
	charons(t)
	snaps := observe(t)
	await(t, snaps, time.Time{}, "no SA", none)
	for range 5 {
		begin := time.Now()
		shell(t, "swanctl", "--initiate", "--child", "l2tp", "--timeout", "20")
		up := time.Now()
		d := await(t, snaps, begin, "the SA", installed)
		t.Logf("initiated in %s, in a snapshot %s after", up.Sub(begin).Round(time.Millisecond), d.at.Sub(up).Round(time.Millisecond))
		if late := d.at.Sub(up); late > time.Second {
			t.Errorf("seen %s after it was up", late)
		}
		got := d.SAs[0]
		child := &got.Children[0]
		if got.UniqueID == "" || child.Cipher == "" || got.Established > 5*time.Second {
			t.Errorf("got %+v", got)
		}
		got.UniqueID, child.Cipher, child.Integrity, got.Established = "", "", "", 0
		// Protocol and port are names or numbers, by the system's /etc/protocols.
		for _, ts := range [][]string{got.Children[0].LocalTS, got.Children[0].RemoteTS} {
			for i := range ts {
				ts[i], _, _ = strings.Cut(ts[i], "[")
			}
		}
		want := SA{
			Name: "l2tp-peer", State: "ESTABLISHED", Initiator: true,
			RemoteHost: netip.MustParseAddrPort("192.0.2.2:500"),
			Children: []Child{{
				Name: "l2tp", State: "INSTALLED", Mode: "TRANSPORT",
				LocalTS:  []string{"192.0.2.1/32"},
				RemoteTS: []string{"192.0.2.2/32"},
			}},
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}

		shell(t, "swanctl", "--terminate", "--ike", "l2tp-peer", "--timeout", "20")
		down := time.Now()
		d = await(t, snaps, up, "no SA", none)
		t.Logf("terminated, in a snapshot %s after", d.at.Sub(down).Round(time.Millisecond))
		if late := d.at.Sub(down); late > 2*time.Second {
			t.Errorf("seen %s after it was down", late)
		}
	}
}

// charon is killed ten times, each time with an SA up.
func TestRealCharonKilled(t *testing.T) {
	charons(t)
	snaps := observe(t)
	var files, goroutines []int
	for round := range 10 {
		begin := time.Now()
		shell(t, "swanctl", "--initiate", "--child", "l2tp", "--timeout", "20")
		await(t, snaps, begin, "the SA", installed)
		files, goroutines = append(files, openFiles(t)), append(goroutines, runtime.NumGoroutine())

		killed := time.Now()
		shell(t, "systemctl", "kill", "--signal=KILL", "--kill-who=main", "strongswan.service")
		shell(t, "systemctl", "restart", "strongswan.service") // ends when it is back
		returned := time.Now()
		d := await(t, snaps, killed, "no SA", none)
		if out := shell(t, "swanctl", "--list-sas"); out != "" {
			t.Errorf("charon does have SAs:\n%s", out)
		}
		t.Logf("round %d: back %s after the kill, in a snapshot %s later",
			round, returned.Sub(killed).Round(time.Millisecond), d.at.Sub(returned).Round(time.Millisecond))
		if late := d.at.Sub(returned); late > 5*time.Second {
			t.Errorf("seen %s after its return", late)
		}
		shell(t, "systemctl", "reset-failed", "strongswan.service") // its count of starts
	}
	t.Logf("open files %v, goroutines %v", files, goroutines)
	if last := len(files) - 1; files[last] != files[0] || goroutines[last] > slices.Max(goroutines[:2]) {
		t.Error("something is left behind of each round")
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}
