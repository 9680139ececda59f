package helloguard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// watchTables calls changed immediately and after each change of nftables' tables, whoever made
// it, until ctx ends. changed must not block: while nobody reads, the kernel discards notices.
func watchTables(ctx context.Context, changed func()) error {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fmt.Errorf("nf_tables: %w", err)
	}
	defer c.Close()
	if err := c.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		return fmt.Errorf("nf_tables: changes: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	changed() // there may have been one before
	for {
		msgs, err := c.Receive()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, unix.ENOBUFS): // notices were discarded: all the more reason to look
			changed()
		case err != nil:
			return fmt.Errorf("nf_tables: changes: %w", err)
		case slices.ContainsFunc(msgs, changesRules):
			changed()
		}
	}
}

// changesRules reports whether a notice may concern the guard's chains. Those of a set's elements,
// which change all the time, and of a transaction's end do not.
func changesRules(m netlink.Message) bool {
	switch uint16(m.Header.Type) &^ (unix.NFNL_SUBSYS_NFTABLES << 8) {
	case unix.NFT_MSG_NEWSETELEM, unix.NFT_MSG_DELSETELEM, unix.NFT_MSG_NEWGEN:
		return false
	}
	return true
}
