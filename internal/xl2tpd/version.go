package xl2tpd

import (
	"cmp"
	"regexp"
	"strconv"
)

// Executable is where Debian's package has xl2tpd.
const Executable = "/usr/sbin/xl2tpd"

// Version is the release of an xl2tpd, such as 1.3.18; the zero value: not known.
type Version struct {
	Text    string // as xl2tpd logs it, such as "1.3.19rc1"
	numbers [3]int
}

// The executable of xl2tpd contains its version as a separate C string (l2tp.h, SERVER_VERSION).
var serverVersion = regexp.MustCompile(`\x00xl2tpd-((\d{1,6})\.(\d{1,6})\.(\d{1,6})[0-9A-Za-z.+~-]*)\x00`)

// FindVersion finds the version in the content of an xl2tpd's executable.
func FindVersion(executable []byte) Version {
	m := serverVersion.FindSubmatch(executable)
	if m == nil {
		return Version{}
	}
	v := Version{Text: string(m[1])}
	for i := range v.numbers {
		v.numbers[i], _ = strconv.Atoi(string(m[2+i])) // digits, and few
	}
	return v
}

// Known reports whether the version is known.
func (v Version) Known() bool { return v != Version{} }

// before reports whether v is older than that release. A release candidate counts as the release.
func (v Version) before(major, minor, patch int) bool {
	return cmp.Or(cmp.Compare(v.numbers[0], major), cmp.Compare(v.numbers[1], minor), cmp.Compare(v.numbers[2], patch)) < 0
}

// SarefForces reports whether `ipsec saref` makes an xl2tpd of this version use userspace mode.
// Before 1.3.19 xl2tpd does so whatever the value. An unknown version may be older too.
func (c *Conf) SarefForces(v Version) bool {
	return c.SarefLine != 0 && (c.ForceUserspace || !v.Known() || v.before(1, 3, 19))
}
