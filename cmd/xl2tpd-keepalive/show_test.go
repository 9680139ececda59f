package main

import (
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A page never fills more than the terminal less the row of the cursor; its beginning stays.
func TestClip(t *testing.T) {
	page := "one\ntwo\n\x1b[31mthree\x1b[0m\nfour\n"
	for _, tc := range []struct {
		columns, rows int
		want          string
	}{
		{80, 24, page},
		{80, 5, page},
		{80, 4, "one\ntwo\n… more lines: 2; name tunnels, or use --short\n"},
		{4, 24, "one\ntwo\n\x1b[31mthr…\x1b[0m\nfour\n"},
		{8, 3, "one\n… more …\n"},
		{0, 0, page}, // not known
		{80, 1, page},
	} {
		if got := clip(page, tc.columns, tc.rows, nil); got != tc.want {
			t.Errorf("%d × %d: %q, want %q", tc.columns, tc.rows, got, tc.want)
		}
	}
}

// A Japanese letter takes two columns.
func TestCut(t *testing.T) {
	for columns, want := range map[int]string{1: "…", 2: "…", 3: "東…", 4: "東…", 5: "東京…", 7: "東京 a…", 8: "東京 a b", 0: "東京 a b"} {
		if got := cut("東京 a b", columns); got != want {
			t.Errorf("%d columns: %q, want %q", columns, got, want)
		}
	}
}

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
			t.Fatalf("%v: %q", err, out.String())
		}
		out.Write(buf[:n])
	}
	in.Write([]byte{3})
	io.Copy(&out, shown)
	if err := c.Wait(); err != nil {
		t.Errorf("%v: %q", err, out.String())
	}
	text := out.String()
	_, text, began := strings.Cut(text, enterScreen)
	text, after, ended := strings.Cut(text, leaveScreen)
	if !began || !ended || strings.TrimSpace(after) != "" || !strings.Contains(text, "\x1b[H") {
		t.Errorf("%q", out.String())
	}
	if strings.Contains(text, "\x1b[3") {
		t.Errorf("colours: %q", text)
	}
}
