package ppp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// receiveBuffer holds the events of some thousand devices, in bytes.
const receiveBuffer = 1 << 20

// streamRtnetlink hints whenever the kernel says that a PPP device or a
// point-to-point IPv4 address has come, changed or gone.
func streamRtnetlink(ctx context.Context, ready, hint func()) error {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{
		Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR,
	})
	if err != nil {
		return fmt.Errorf("rtnetlink: %w", err)
	}
	defer conn.Close()
	if err := conn.SetReadBuffer(receiveBuffer); err != nil {
		return fmt.Errorf("rtnetlink: receive buffer: %w", err)
	}
	// Not Close: Close below would then return before the socket is closed.
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	ready()
	for {
		msgs, err := conn.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			// The kernel has dropped events and does not say which.
			hint()
		case err != nil:
			return fmt.Errorf("rtnetlink: %w", err)
		}
		for _, m := range msgs {
			if concerns(m) {
				hint()
			}
		}
	}
}

// concerns reports whether an event may be about a PPP link. An event that
// can't be read may be.
func concerns(m netlink.Message) bool {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		_, ppp, err := decodeDevice(m.Data)
		return ppp || err != nil
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		_, ptp, err := decodeAddress(m.Data)
		return ptp || err != nil
	}
	return false
}
