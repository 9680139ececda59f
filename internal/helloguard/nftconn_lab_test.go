//go:build lab

package helloguard

import (
	"errors"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// A kernel that does not take batches of a kind, as one without nf_tables, refuses one with a single answer.
func TestBatchWithOneAnswer(t *testing.T) {
	const noBatches = 4 // NFNL_SUBSYS_ULOG
	var n nftConn
	batch, err := n.batch(func(c *nftables.Conn) error {
		newRules().emptyTable(c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	batch[0].Data[3] = noBatches
	done := make(chan error, 1)
	go func() { done <- n.do(func(*nftables.Conn) error { return n.send(batch) }) }()
	select {
	case err := <-done:
		if !errors.Is(err, unix.EOPNOTSUPP) || n.conn != nil {
			t.Errorf("%v, connection open: %v", err, n.conn != nil)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it waits for answers that the kernel does not give")
	}
}
