package ppp

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestParentEnds(t *testing.T) {
	before := openFiles(t)
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hints := make(chan struct{}, 9)
	p := exitWatcher{hint: func() { hints <- struct{}{} }}
	links := []Link{{Index: 5, Xl2tpdPid: cmd.Process.Pid}, {Index: 6, Xl2tpdPid: cmd.Process.Pid}}
	p.follow(links)
	p.follow(append(links, Link{Index: 7, Xl2tpdPid: os.Getpid()}))
	if len(hints) != 0 {
		t.Error("hint while all live")
	}
	in.Close()
	select {
	case <-hints:
	case <-time.After(10 * time.Second):
		t.Error("no hint when it has ended")
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}

	p.follow(nil)
	p.follow(links[:1]) // has ended already
	if len(hints) != 1 {
		t.Errorf("%d hints for a process that was gone, want 1", len(hints))
	}
	p.follow([]Link{{Index: 7, Xl2tpdPid: os.Getpid()}})
	p.close()
	if len(hints) != 1 {
		t.Errorf("%d hints in the end, want no more", len(hints))
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d open files before, %d after", before, after)
	}
}
