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
			Help(context.Background(), conn, conn, c)
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return Helper{Socket: path}
}

func TestHelper(t *testing.T) {
	path := fifo(t)
	commands := serve(t, path)
	h := help(t, &Control{Paths: []string{path}})
	longest := strings.Repeat("x", maxLACName)
	if err := errors.Join(h.Connect(t.Context(), "office"), h.Disconnect(t.Context(), longest)); err != nil {
		t.Fatal(err)
	}
	if err := h.Connect(t.Context(), "two words"); err == nil {
		t.Error("a name that xl2tpd would take apart: no error")
	}
	if got, want := commands(), []string{"c office\n", "d " + longest + "\n"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What the helper meets is what its client is told.
func TestHelperFails(t *testing.T) {
	h := help(t, &Control{Paths: []string{filepath.Join(t.TempDir(), "none")}})
	if err := h.Connect(t.Context(), "office"); err == nil || !strings.Contains(err.Error(), "is xl2tpd running?") {
		t.Error(err)
	}
	if err := (Helper{Socket: filepath.Join(t.TempDir(), "none")}).Connect(t.Context(), "office"); !errors.Is(err, syscall.ENOENT) {
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
	if err := (Helper{Socket: path}).Connect(ctx, "office"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// Nothing but the two requests reaches xl2tpd, whoever asks.
func TestHelpRefuses(t *testing.T) {
	path := fifo(t)
	fd := hold(t, path)
	for _, request := range []string{
		"", "c office", "\n", "c\n", "c \n", "d\n", "x office\n", "a office lns=192.0.2.1\n", "c office\x00\n",
		"c office user\n", "@/tmp/x c office\n", "c " + strings.Repeat("x", maxLACName+1) + "\n", strings.Repeat("c ", 1<<20),
	} {
		var out bytes.Buffer
		if err := Help(t.Context(), strings.NewReader(request), &out, &Control{Paths: []string{path}}); err == nil {
			t.Errorf("%.30q: no error", request)
		}
		if answer := out.String(); answer == done+"\n" || strings.Count(answer, "\n") != 1 {
			t.Errorf("%.30q: answer %q", request, answer)
		}
	}
	if got := take(t, fd); got != "" {
		t.Errorf("xl2tpd was told %q", got)
	}
}

func FuzzHelp(f *testing.F) {
	f.Add("c office\n")
	f.Add("d \n")
	f.Fuzz(func(t *testing.T, request string) {
		Help(t.Context(), strings.NewReader(request), io.Discard, &Control{Paths: []string{"/nonexistent"}})
	})
}
