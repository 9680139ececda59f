//go:build lab

package vici

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// ownHost is a network with one address and nobody else in it, and a /run for one charon.
const ownHost = "mount -t tmpfs tmpfs /run && ip link set lo up && ip addr add 198.51.100.1/32 dev lo && exec "

// daemon is a real charon, or the starter with one, in such a network.
type daemon struct {
	socket string
	log    string // a file
	ended  chan struct{}
}

func startDaemon(t *testing.T, command ...string) *daemon {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "-n", "-m", "sh", "-c", ownHost+strings.Join(command, " "))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d := &daemon{log: log.Name(), ended: make(chan struct{}), socket: fmt.Sprintf("/proc/%d/root/run/charon.vici", cmd.Process.Pid)}
	go func() { _ = cmd.Wait(); close(d.ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-d.ended
		log.Close()
	})
	return d
}

// until asks charon for its connections until they are as wanted or the daemon has ended.
func (d *daemon) until(t *testing.T, wanted func([]Connection) bool) (all []Connection, log string) {
	t.Helper()
	for range 600 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		got, err := (&Commander{sockets: []string{d.socket}}).Connections(ctx)
		cancel()
		ended := false
		select {
		case <-d.ended:
			ended = true
		case <-time.After(50 * time.Millisecond):
		}
		if ended || err == nil && wanted(got) {
			b, err := os.ReadFile(d.log)
			if err != nil {
				t.Fatal(err)
			}
			return got, string(b)
		}
	}
	b, _ := os.ReadFile(d.log)
	t.Fatalf("charon has not loaded the file:\n%s", b)
	return nil, ""
}

// checkSample compares what charon lists with what lies beside the file.
func checkSample(t *testing.T, name string, got []Connection, said string, failed bool) {
	t.Helper()
	want := readSample(t, name)
	if failed && want.Fails == "" || !strings.Contains(said, want.Fails) {
		t.Errorf("failed: %t, want %q, said:\n%s", failed, want.Fails, said)
	}
	byName := func(a, b Connection) int { return cmp.Compare(a.Name, b.Name) }
	slices.SortFunc(want.Connections, byName)
	slices.SortFunc(got, byName)
	if d := gocmp.Diff(want.Connections, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("mismatch (-want +got):\n%s", d)
	}
}

func sampleFiles(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(dir, samples); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, sampleDir)
}

// What charon makes of a file is what lies beside it.
func TestRealSwanctlSamples(t *testing.T) {
	dir := sampleFiles(t)
	d := startDaemon(t, "charon-systemd")
	d.until(t, func([]Connection) bool { return true })
	for _, name := range sampleNames(t, ".swanctl") {
		t.Run(name, func(t *testing.T) {
			var said strings.Builder
			cmd := exec.Command("swanctl", "--load-conns", "--file", filepath.Join(dir, name), "--uri", "unix://"+d.socket)
			cmd.Stdout, cmd.Stderr = &said, &said
			failed := cmd.Run() != nil
			got, err := (&Commander{sockets: []string{d.socket}}).Connections(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			checkSample(t, name, got, said.String(), failed)
			empty := filepath.Join(dir, "empty")
			if err := os.WriteFile(empty, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			shell(t, "swanctl", "--load-conns", "--file", empty, "--uri", "unix://"+d.socket)
		})
	}
}

// lastConn shows that the starter has told charon of all that stands before it.
const lastConn = "the-last"

// Likewise with the files of the starter.
func TestRealStarterSamples(t *testing.T) {
	dir := sampleFiles(t)
	for _, name := range sampleNames(t, ".ipsec") {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text := string(b) + "\nconn " + lastConn + "\n\tright=203.0.113.99\n\ttype=tunnel\n\tauto=add\n"
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			last := func(c Connection) bool { return c.Name == lastConn }
			d := startDaemon(t, "/usr/lib/ipsec/starter", "--nofork", "--conf", path)
			got, said := d.until(t, func(all []Connection) bool { return slices.ContainsFunc(all, last) })
			loaded := slices.ContainsFunc(got, last)
			checkSample(t, name, slices.DeleteFunc(got, last), said, !loaded)
		})
	}
}
