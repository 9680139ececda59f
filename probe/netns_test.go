package probe

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// alone runs the calling test again in a process with a namespace of its own, by
// unshare(1). It returns true in that process only, and needs root. QEMU's user
// mode could make the namespace neither by clone(2), nor, for users, by
// unshare(2): it has a thread of its own in each process.
func alone(t *testing.T, namespace ...string) bool {
	t.Helper()
	const mark = "PROBE_TEST_ALONE"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	args := append(namespace, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	cmd := exec.Command("unshare", args...)
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in its own namespace (these tests need root): %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("the test did not run:\n%s", out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "_test.go:") {
			t.Log(strings.TrimSpace(line))
		}
	}
	return false
}

// run executes commands, one a line.
func run(t *testing.T, prefix, lines string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		args := strings.Fields(prefix + " " + line)
		if len(strings.TrimSpace(line)) == 0 {
			continue
		}
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// neighbour makes another network namespace, and returns the id of a process
// in it and a prefix to run commands there.
func neighbour(t *testing.T) (pid, prefix string) {
	t.Helper()
	cmd := exec.Command("cat") // lives until its input ends
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			t.Error(err)
		}
	})
	pid = strconv.Itoa(cmd.Process.Pid)
	return pid, "nsenter -n -t " + pid
}

// connect makes veth link with a far end of the same name in the neighbour's
// namespace, and returns its index.
func connect(t *testing.T, pid, prefix, link, own, far string) int {
	t.Helper()
	run(t, "ip", "link add "+link+" type veth peer name "+link+" netns "+pid)
	run(t, "ip", "addr add "+own+"/32 peer "+far+"/32 dev "+link+"\n link set "+link+" up")
	run(t, prefix+" ip", "addr add "+far+"/32 peer "+own+"/32 dev "+link+"\n link set "+link+" up")
	return index(t, link)
}

func index(t *testing.T, link string) int {
	t.Helper()
	i, err := net.InterfaceByName(link)
	if err != nil {
		t.Fatal(err)
	}
	return i.Index
}
