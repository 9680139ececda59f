package xl2tpd

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"xl2tpd-keepalive/internal/systembus"
)

const (
	networkManager = "org.freedesktop.NetworkManager"
	nmSettings     = "/org/freedesktop/NetworkManager/Settings"
)

// connectionOf returns the UUID of the NetworkManager connection that a configuration file belongs
// to; empty: none. NetworkManager-l2tp starts an xl2tpd for each connection, makes it dial, and ends
// it.
func connectionOf(conf string) string {
	rest, ok := strings.CutPrefix(conf, "/run/nm-l2tp-")
	if !ok {
		return ""
	}
	if uuid, _, ok := strings.Cut(rest, "/"); ok {
		return uuid
	}
	// Before version 1.2.12: /run/nm-l2tp-xl2tpd-UUID.conf.
	uuid, ok := strings.CutPrefix(strings.TrimSuffix(rest, ".conf"), "xl2tpd-")
	if !ok {
		return ""
	}
	return uuid
}

// ConnectionName asks NetworkManager for the name of a connection. It does not start
// NetworkManager.
func ConnectionName(ctx context.Context, uuid string) (string, error) {
	conn, err := systembus.Connect(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	var path dbus.ObjectPath
	if err := call(ctx, conn, networkManager, nmSettings, networkManager+".Settings.GetConnectionByUuid", uuid).Store(&path); err != nil {
		return "", fmt.Errorf("NetworkManager connection %s: %w", uuid, err)
	}
	var settings map[string]map[string]dbus.Variant
	if err := call(ctx, conn, networkManager, path, networkManager+".Settings.Connection.GetSettings").Store(&settings); err != nil {
		return "", fmt.Errorf("NetworkManager connection %s: %w", uuid, err)
	}
	name, ok := settings["connection"]["id"].Value().(string)
	if !ok {
		return "", fmt.Errorf("NetworkManager connection %s: its settings have no name", uuid)
	}
	return name, nil
}

// call calls a method and does not let the bus start the called program.
func call(ctx context.Context, conn *dbus.Conn, dest string, path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	return conn.Object(dest, path).CallWithContext(ctx, method, dbus.FlagNoAutoStart, args...)
}

// nameTimeout is how long NetworkManager may take to answer.
const nameTimeout = 5 * time.Second

// connectionNames keeps the names of NetworkManager's connections. It asks for each once, in a goroutine.
type connectionNames struct {
	lookup func(ctx context.Context, uuid string) (string, error)
	done   chan connectionName
	wg     sync.WaitGroup
	known  map[string]string // by UUID; empty: asked for
}

type connectionName struct{ uuid, name string }

// name returns the known name of a connection; empty: not known yet.
func (n *connectionNames) name(ctx context.Context, uuid string) string {
	name, asked := n.known[uuid]
	if uuid == "" || asked {
		return name
	}
	n.known[uuid] = ""
	n.wg.Go(func() {
		limited, cancel := context.WithTimeout(ctx, nameTimeout)
		defer cancel()
		name, err := n.lookup(limited, uuid)
		if err != nil {
			return
		}
		select {
		case n.done <- connectionName{uuid, name}:
		case <-ctx.Done():
		}
	})
	return ""
}

// take stores an answer, unless the connection has ended meanwhile.
func (n *connectionNames) take(a connectionName) {
	if _, ok := n.known[a.uuid]; ok {
		n.known[a.uuid] = a.name
	}
}
