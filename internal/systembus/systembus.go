// Package systembus logs in to D-Bus's system bus.
package systembus

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/godbus/dbus/v5"
)

// systemd on the bus.
const (
	Systemd     = "org.freedesktop.systemd1"
	SystemdPath = "/org/freedesktop/systemd1"
)

// Connect logs in as the user of this process. The end of ctx closes the connection.
func Connect(ctx context.Context, more ...dbus.ConnOption) (*dbus.Conn, error) {
	options := append([]dbus.ConnOption{
		dbus.WithContext(ctx),
		dbus.WithAuth(dbus.AuthExternal(strconv.Itoa(os.Geteuid()))),
	}, more...)
	conn, err := dbus.ConnectSystemBus(options...)
	if err != nil {
		return nil, fmt.Errorf("D-Bus: %w", err)
	}
	return conn, nil
}
