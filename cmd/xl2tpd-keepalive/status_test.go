package main

import (
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// At a terminal the page has a screen of its own, and Ctrl-C gives the old one back.
func TestWatchAtATerminal(t *testing.T) {
	c := exec.Command("script", "--quiet", "--return", "--command", "exec xl2tpd-keepalive status --watch", "/dev/null")
	c.Env = append(c.Environ(), "TERM=xterm", "NO_COLOR=1")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	shown, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(20*time.Second, func() { c.Process.Kill() }).Stop()
	var out strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(out.String(), "\x1b[J") { // the end of the first page
		n, err := shown.Read(buf)
		if err != nil {
			t.Fatalf("no whole page: %v; shown: %q", err, out.String())
		}
		out.Write(buf[:n])
	}
	in.Write([]byte{3})
	io.Copy(&out, shown)
	if err := c.Wait(); err != nil {
		t.Errorf("ended with %v; shown: %q", err, out.String())
	}
	text := out.String()
	_, text, began := strings.Cut(text, "\x1b[?1049h\x1b[?25l\x1b[?7l") // the alternate screen
	text, after, ended := strings.Cut(text, "\x1b[?7h\x1b[?25h\x1b[?1049l")
	if !began || !ended || strings.TrimSpace(after) != "" || !strings.Contains(text, "\x1b[H") {
		t.Errorf("got %q, want a page between the two ends of the alternate screen", out.String())
	}
	if strings.Contains(text, "\x1b[3") {
		t.Errorf("colours: %q", text)
	}
}
