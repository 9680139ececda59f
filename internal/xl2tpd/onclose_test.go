package xl2tpd

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The end of the other side is noticed, and a message of it is no end. An end that came before is noticed immediately. A file
// is no socket.
func TestOnClose(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours := os.NewFile(uintptr(pair[0]), "ours")
	defer ours.Close()
	gone := make(chan struct{})
	OnClose(ours, func() { close(gone) })
	if _, err := unix.Write(pair[1], []byte("c office\n")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone:
		t.Error("gone before its time")
	case <-time.After(50 * time.Millisecond):
	}
	unix.Close(pair[1])
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Error("the closed end of the socket is not seen within 5 s")
	}
	seen := false
	if OnClose(ours, func() { seen = true }); !seen {
		t.Error("the end that is closed already: it is not seen before OnClose returns")
	}

	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	OnClose(null, func() { t.Error("a file is no socket") })
}
