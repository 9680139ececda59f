// Package serviceuser reports which files the service's user may open. Root runs check-config and doctor, and may open
// more.
package serviceuser

import (
	"errors"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// User and group of the systemd unit.
const (
	name  = "xl2tpd-keepalive"
	group = "adm"
)

// User returns the id of the service's user, or root's if there is none.
func User() int {
	u, err := user.Lookup(name)
	if err != nil {
		return 0
	}
	return int(number(u.Uid))
}

// Can reports whether the service may read (what is "r") or execute ("x") a file. It also
// returns true if it can't find out: that takes root, and the service's user.
func Can(what, path string) bool {
	u, err := user.Lookup(name)
	if err != nil || os.Geteuid() != 0 {
		return true
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return true
	}
	others, err := u.GroupIds()
	if err != nil {
		return true
	}
	as := &syscall.Credential{Uid: number(u.Uid), Gid: number(g.Gid)}
	for _, id := range others {
		if id != u.Gid { // Group= of the unit replaces it
			as.Groups = append(as.Groups, number(id))
		}
	}
	return can(as, what, path)
}

// can runs test(1), so that the kernel decides: it considers more than mode bits.
func can(as *syscall.Credential, what, path string) bool {
	ask := exec.Command("test", "-"+what, path)
	ask.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	var exit *exec.ExitError
	return !errors.As(ask.Run(), &exit)
}

func number(id string) uint32 {
	n, _ := strconv.ParseUint(id, 10, 32) // it comes from the system
	return uint32(n)
}
