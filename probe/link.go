package probe

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// sameLink returns an error unless an interface of that name exists and, if
// index is not 0, has that index.
func sameLink(name string, index int) error {
	if name == "" {
		return nil
	}
	if index == 0 {
		if _, err := net.InterfaceByName(name); err != nil {
			return ErrGone
		}
		return nil
	}
	// By index: asked by name, the kernel would run modprobe for a name that it
	// does not know (given CAP_NET_ADMIN), which takes its time.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%w: socket: %w", ErrSend, err)
	}
	defer unix.Close(fd)
	var req unix.Ifreq
	req.SetUint32(uint32(index))
	switch err := unix.IoctlIfreq(fd, unix.SIOCGIFNAME, &req); {
	case errors.Is(err, unix.ENODEV):
		return ErrGone
	case err != nil:
		return fmt.Errorf("%w: interface %d: %w", ErrSend, index, err)
	case req.Name() != name:
		return fmt.Errorf("%w: index %d is %s now", ErrGone, index, req.Name())
	}
	return nil
}
