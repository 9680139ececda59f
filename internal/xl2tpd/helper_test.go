package xl2tpd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"xl2tpd-keepalive/internal/procfs"
)

// help has a helper behind a socket, one request after the other.
func help(t *testing.T, c *Control) Helper {
	t.Helper()
	path := filepath.Join(t.TempDir(), "helper")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serveOne(conn.(*net.UnixConn), c)
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return Helper{Socket: path}
}

// serveOne serves a request as the helper's process does.
func serveOne(conn *net.UnixConn, c *Control) {
	f, err := conn.File()
	if err != nil {
		panic(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	OnClose(f, cancel)
	ServeRequest(ctx, conn, conn, c)
}

func TestHelper(t *testing.T) {
	path := fifo(t)
	commands := serve(t, path)
	c, to := control(t, path)
	h := help(t, c)
	longest := strings.Repeat("x", maxLACName)
	if err := errors.Join(h.Connect(t.Context(), to, "office"), h.Disconnect(t.Context(), to, longest)); err != nil {
		t.Fatal(err)
	}
	if err := h.Connect(t.Context(), to, "two words"); err == nil {
		t.Error("a name that xl2tpd would take apart: no error")
	}
	if got, want := commands(), []string{"c office\n", "d " + longest + "\n"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What the helper meets is what its client is told.
func TestHelperFails(t *testing.T) {
	c, to := control(t, filepath.Join(t.TempDir(), "none"))
	h := help(t, c)
	if err := h.Connect(t.Context(), to, "office"); err == nil || !strings.Contains(err.Error(), "no such FIFO") {
		t.Error(err)
	}
	ended := Target{procfs.ID{Pid: pid, Start: 6}, to.Pipe}
	if err := h.Disconnect(t.Context(), ended, "office"); err == nil || err.Error() != to.Pipe+": xl2tpd (pid 77) has ended (no such process)" {
		t.Error(err)
	}
	if err := (Helper{Socket: filepath.Join(t.TempDir(), "none")}).Connect(t.Context(), to, "office"); !errors.Is(err, syscall.ENOENT) {
		t.Error(err)
	}
}

func TestHelperIsSilent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "helper")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := (Helper{Socket: path}).Connect(ctx, Target{Pipe: DefaultPipe}, "office"); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrNoAnswer) {
		t.Errorf("got %v, want that nobody knows", err)
	}
}

// A request that is given up does not reach xl2tpd: the helper takes it back. It says so, or that xl2tpd has it already.
func TestHelperTakesBack(t *testing.T) {
	for name, reads := range map[string]bool{"xl2tpd reads nothing": false, "xl2tpd has just read it": true} {
		path := fifo(t)
		fd := hold(t, path)
		c, to := control(t, path)
		h := help(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, func() {
			if reads {
				take(t, fd)
			}
			cancel()
		})
		err := h.Disconnect(ctx, to, "office")
		if left := take(t, fd); left != "" || (err == nil) != reads {
			t.Errorf("%s: error %v, and %q is left", name, err, left)
		}
	}
}

// A request that was given up before its helper began does not reach xl2tpd either.
func TestHelperBeginsLate(t *testing.T) {
	pipe := fifo(t)
	fd := hold(t, pipe)
	c, to := control(t, pipe)
	socket := filepath.Join(t.TempDir(), "helper")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := (Helper{Socket: socket}).Disconnect(ctx, to, "office"); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("got %v, want no answer", err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	serveOne(conn.(*net.UnixConn), c)
	if got := take(t, fd); got != "" {
		t.Errorf("xl2tpd was told %q", got)
	}
}

// What the service can't put into a request it does not send.
func TestHelperRefuses(t *testing.T) {
	h := Helper{Socket: filepath.Join(t.TempDir(), "none")}
	for _, pipe := range []string{"", "ctl", "/run/my ctl", "/run/ctl\nd office", "/" + strings.Repeat("x", maxPipe)} {
		if err := h.Connect(t.Context(), Target{Pipe: pipe}, "office"); err == nil || !strings.HasPrefix(err.Error(), "control pipe ") {
			t.Errorf("%.20q: got %v, want an error about the pipe", pipe, err)
		}
	}
}

// Nothing but the two requests reaches xl2tpd, whoever asks.
func TestHelpRefuses(t *testing.T) {
	path := fifo(t)
	other := fifo(t)
	fds := []int{hold(t, path), hold(t, other)}
	c, _ := control(t, path)
	to := "77 5 " + path + " "
	for name, request := range map[string]string{
		"nothing":                  "",
		"no end":                   "c " + to + "office",
		"empty":                    "\n",
		"without a target":         "c office\n",
		"without a start":          "c 77 " + path + " office\n",
		"no name":                  "c " + to + "\n",
		"no blank for it":          "c 77 5 " + path + "\n",
		"another verb":             "x " + to + "office\n",
		"add a LAC":                "a " + to + "office lns=192.0.2.1\n",
		"NUL":                      "c " + to + "office\x00\n",
		"user":                     "c " + to + "office user\n",
		"reply":                    "@/tmp/x c " + to + "office\n",
		"name too long":            "c " + to + strings.Repeat("x", maxLACName+1) + "\n",
		"endless":                  strings.Repeat("c ", 1<<20),
		"ended":                    "c 77 6 " + path + " office\n",
		"another process":          "c 1 5 " + path + " office\n",
		"no process":               "c 0 0 " + path + " office\n",
		"odd number":               "c 077 5 " + path + " office\n",
		"another's FIFO":           "c 77 5 " + other + " office\n",
		"another's FIFO, by links": "c 77 5 /proc/self/root" + path + " office\n",
		"relative":                 "c 77 5 " + path[1:] + " office\n",
		"pipe with a space":        "c 77 5 /tmp/a b office\n",
		"pipe too long":            "c 77 5 /" + strings.Repeat("x", maxPipe) + " office\n",
	} {
		var out bytes.Buffer
		if err := ServeRequest(t.Context(), strings.NewReader(request), &out, c); err == nil {
			t.Errorf("%s: no error", name)
		}
		if answer := out.String(); answer == done+"\n" || strings.Count(answer, "\n") != 1 {
			t.Errorf("%s: answer %q", name, answer)
		}
	}
	for _, fd := range fds {
		if got := take(t, fd); got != "" {
			t.Errorf("xl2tpd was told %q", got)
		}
	}
}

// A service of the version before asks in another form.
func TestHelpOldRequest(t *testing.T) {
	c, _ := control(t, "/nonexistent")
	err := ServeRequest(t.Context(), strings.NewReader("c office\n"), io.Discard, c)
	if err == nil || !strings.Contains(err.Error(), "systemctl restart xl2tpd-keepalive") {
		t.Error(err)
	}
}

func FuzzHelp(f *testing.F) {
	f.Add("c 77 5 /nonexistent office\n")
	f.Add("c office\n")
	f.Add("d 1 2  \n")
	f.Fuzz(func(t *testing.T, request string) {
		if ServeRequest(t.Context(), strings.NewReader(request), io.Discard, &Control{procs: &procs{root: "/nonexistent"}}) == nil {
			t.Errorf("%q is obeyed", request)
		}
	})
}
