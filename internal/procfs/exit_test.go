package procfs

import (
	"errors"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestOnExit(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended, given := make(chan struct{}), make(chan struct{})
	stop, err := OnExit(cmd.Process.Pid, func() { close(ended) })
	if err != nil {
		t.Fatal(err)
	}
	giveUp, err := OnExit(cmd.Process.Pid, func() { close(given) })
	if err != nil {
		t.Fatal(err)
	}
	giveUp()
	select {
	case <-given:
		t.Error("a wait given up says that the process has ended")
	case <-ended:
		t.Error("ended before its time")
	default:
	}
	in.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the end was not seen")
	}
	stop()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := OnExit(cmd.Process.Pid, func() {}); !errors.Is(err, unix.ESRCH) {
		t.Errorf("a wait for process %d, which is gone: %v", cmd.Process.Pid, err)
	}
}
