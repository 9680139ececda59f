package main

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Who has closed the socket wants nothing any more. A file is no socket.
func TestHungUp(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours := os.NewFile(uintptr(pair[0]), "ours")
	defer ours.Close()
	gone := make(chan struct{})
	go hungUp(ours, func() { close(gone) })
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
		t.Error("not gone")
	}

	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	hungUp(null, func() { t.Error("a file is no socket") })
}
