package xl2tpd

import (
	"cmp"
	"regexp"
	"strconv"
)

// Version is the release of an xl2tpd, such as 1.3.18; the zero value: not known.
type Version struct {
	Text    string // as xl2tpd logs it, such as "1.3.19rc1"
	numbers [3]int
}

// An xl2tpd has its version as a text of its own (l2tp.h, SERVER_VERSION).
var serverVersion = regexp.MustCompile(`\x00xl2tpd-((\d{1,6})\.(\d{1,6})\.(\d{1,6})[0-9A-Za-z.+~-]*)\x00`)

// FindVersion looks for the version in the content of an xl2tpd's executable.
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

// Known reports whether it is known.
func (v Version) Known() bool { return v != Version{} }

// before compares releases. A candidate counts as the release.
func (v Version) before(major, minor, patch int) bool {
	return cmp.Or(cmp.Compare(v.numbers[0], major), cmp.Compare(v.numbers[1], minor), cmp.Compare(v.numbers[2], patch)) < 0
}

// SarefForces reports whether `ipsec saref` makes an xl2tpd of this version use userspace mode.
// Before 1.3.19 it does so whatever its value; one whose version is not known may be such.
func (c *Conf) SarefForces(v Version) bool {
	return c.SarefLine != 0 && (c.ForceUserspace || !v.Known() || v.before(1, 3, 19))
}
