package xl2tpd

import (
	"slices"
	"testing"

	"xl2tpd-keepalive/internal/procfs"
)

func TestInstanceNames(t *testing.T) {
	tunnels := &Conf{Sections: []Section{{Kind: "lac", Name: "a"}}}
	at := func(path, unit string, pid int) Instance {
		return Instance{Key: Key{Path: path}, Unit: unit, Process: procfs.ID{Pid: pid}, Conf: tunnels}
	}
	nm := at("/run/nm-l2tp-u/xl2tpd.conf", "NetworkManager.service", 3)
	nm.Connection = "u"
	named := nm
	named.Name = "Office"
	twin := at("/a", "", 4)
	twin.Key.Pid = 4
	empty := at("/a", "", 0)
	empty.Conf = &Conf{}
	unread := at("/a", "", 0)
	unread.Conf = nil
	for name, tc := range map[string]struct {
		all  []Instance
		want []string
	}{
		"one":                     {[]Instance{at("/a", "a.service", 1)}, []string{""}},
		"by unit":                 {[]Instance{at("/a", "a.service", 1), at("/b", "b.service", 2)}, []string{"a.service", "b.service"}},
		"of one unit":             {[]Instance{at("/a", "a.service", 1), at("/b", "a.service", 2)}, []string{"/a", "/b"}},
		"without a unit":          {[]Instance{at("/a", "a.service", 1), at("/b", "", 2)}, []string{"a.service", "/b"}},
		"one does not run":        {[]Instance{at("/a", "", 0), at("/b", "b.service", 2)}, []string{"/a", "b.service"}},
		"one has ended":           {[]Instance{at("/a", "a.service", 0), at("/b", "b.service", 2)}, []string{"a.service", "b.service"}},
		"one has nothing to do":   {[]Instance{empty, at("/b", "b.service", 2)}, []string{"", ""}},
		"one can't be read":       {[]Instance{unread, at("/b", "b.service", 2)}, []string{"/a", "b.service"}},
		"NetworkManager's":        {[]Instance{at("/a", "", 1), nm}, []string{"/a", "NetworkManager u"}},
		"NetworkManager's, named": {[]Instance{at("/a", "", 1), named}, []string{"/a", "NetworkManager Office"}},
		"NetworkManager's alone":  {[]Instance{empty, named}, []string{"", ""}},
		"two with the same file":  {[]Instance{at("/a", "", 1), twin}, []string{"/a", "/a (pid 4)"}},
	} {
		if got := (Snapshot{Instances: tc.all}).Names(); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
