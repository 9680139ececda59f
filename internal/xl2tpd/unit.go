package xl2tpd

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"xl2tpd-keepalive/internal/procfs"
	"xl2tpd-keepalive/internal/systembus"
)

// busTimeout is how long systemd may take to answer. A look waits for the answer.
const busTimeout = 2 * time.Second

// unit returns the systemd service that runs a process; empty: none.
func (p procs) unit(pid int) string {
	b, err := procfs.ReadFile(p.file(pid, "cgroup"))
	if err != nil {
		return ""
	}
	for _, hierarchy := range []string{"", "name=systemd"} {
		if path, ok := cgroupPath(string(b), hierarchy); ok {
			if unit := serviceOf(path); unit != "" {
				return unit
			}
		}
	}
	return ""
}

// serviceOf finds the service in a cgroup's path, as systemd does (cg_path_get_unit). Only slices
// are above a unit. Services below the unit, such as those of a container, are not the host's. A
// scope starts no process, and a service of a user's session is not one of the host's.
func serviceOf(path string) string {
	for name := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		switch {
		case name == "user.slice":
			return ""
		case strings.HasSuffix(name, ".slice"):
		case strings.HasSuffix(name, ".service"):
			return strings.TrimPrefix(name, "_") // systemd's escape for a name that cgroups use too
		default:
			return ""
		}
	}
	return ""
}

// cgroupPath finds the cgroup of one hierarchy in a /proc/PID/cgroup; an empty name means cgroup v2.
// A cgroup outside this process's cgroup namespace has no path here.
func cgroupPath(text, hierarchy string) (string, bool) {
	for line := range strings.Lines(text) {
		_, line, _ = strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if path, ok := strings.CutPrefix(line, hierarchy+":"); ok {
			return path, strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "/..")
		}
	}
	return "", false
}

// unitWorkingDir asks systemd in which folder it starts a service.
func unitWorkingDir(ctx context.Context, unit string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, busTimeout)
	defer cancel()
	conn, err := systembus.Connect(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	var path dbus.ObjectPath
	if err := call(ctx, conn, systembus.Systemd, systembus.SystemdPath, systembus.Systemd+".Manager.GetUnit", unit).Store(&path); err != nil {
		return "", err
	}
	var dir string
	property := call(ctx, conn, systembus.Systemd, path, "org.freedesktop.DBus.Properties.Get", systembus.Systemd+".Service", "WorkingDirectory")
	if err := property.Store(&dir); err != nil {
		return "", err
	}
	if dir == "" {
		return "/", nil
	}
	dir = strings.TrimPrefix(dir, "!") // it may be missing
	if !filepath.IsAbs(dir) {
		return "", errors.New("it is " + dir) // "~" is a home
	}
	return dir, nil
}
