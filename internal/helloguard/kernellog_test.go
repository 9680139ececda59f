package helloguard

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/florianl/go-nflog/v2"
	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/l2tp"
)

// What the kernel logs is shown with its direction, ids and retransmissions, and what it could not log is counted.
func TestKernelLog(t *testing.T) {
	k := &KernelLog{events: make(chan controltrace.Event, 4), failed: make(chan error, 1)}
	seq := uint32(0)
	logged := func(out bool, raw []byte) {
		hook := uint8(3) // NF_INET_LOCAL_OUT
		if !out {
			hook = hookInput
		}
		n := seq
		k.take(nflog.Attribute{Hook: &hook, Payload: &raw, Seq: &n})
		seq++
	}
	hello := between(here, there, l2tp.Message{Type: l2tp.TypeHello, Tunnel: 9, Ns: 2, Nr: 1}, 0)
	hello[27]++ // its checksum comes later
	logged(true, hello)
	logged(true, hello)
	logged(true, []byte("no packet"))
	seq += 5 // lost in the kernel
	logged(false, between(there, here, l2tp.Message{Tunnel: 7, Ns: 1, Nr: 3}, 0))
	logged(true, assigning(false, l2tp.TypeSCCRQ, 0, 8, 0, 0))
	logged(true, hello) // there is no room
	for i, want := range []struct {
		local, peer uint16
		toPeer      bool
		again       bool
		missed      uint64
	}{{0, 9, true, false, 0}, {0, 9, true, true, 0}, {7, 0, false, false, 5}, {0, 0, true, false, 0}} {
		e, err := k.Next()
		r := e.Record
		if err != nil || e.Connection.Local != here || e.Connection.Peer != there || e.Connection.LocalID != want.local || e.Connection.PeerID != want.peer ||
			r.ToPeer != want.toPeer || r.Again != want.again || e.Lost != want.missed || r.Verdict != controltrace.Seen || r.Did() != "" {
			t.Errorf("%d: got %+v, %v, want %+v", i, e, err, want)
		}
	}
	logged(true, hello)
	if e, err := k.Next(); err != nil || e.Lost != 1 {
		t.Errorf("got %+v, %v, want one message lost", e, err)
	}
}

// The remedy is found in errors of go-nflog, which do not unwrap.
func TestLogRemedy(t *testing.T) {
	for err, want := range map[error]string{
		fmt.Errorf("could not bind to requested group 1701: %v", os.NewSyscallError("netlink receive", unix.EBUSY)): "is there another trace?",
		fmt.Errorf("nf_tables: %w", unix.EPERM):  "sudo",
		fmt.Errorf("nf_tables: %w", unix.ENOENT): "the kernel needs",
	} {
		if got := logRemedy(err).Error(); !strings.Contains(got, want) {
			t.Errorf("%v: got %s, want %q in it", err, got, want)
		}
	}
}
