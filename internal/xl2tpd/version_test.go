package xl2tpd

import "testing"

func TestFindVersion(t *testing.T) {
	for content, want := range map[string]string{
		"\x7fELF\x00xl2tpd-1.3.18\x00xl2tpd version xl2tpd-1.3.18 started\x00": "1.3.18",
		"\x00xl2tpd-1.3.19rc1\x00":         "1.3.19rc1",
		"\x00xl2tpd-1.4.0\x00":             "1.4.0",
		"\x00xl2tpd-1.3\x00":               "",
		"\x00xl2tpd version xl2tpd-1.3.18": "",
		"":                                 "",
	} {
		if v := FindVersion([]byte(content)); v.Text != want || v.Known() != (want != "") {
			t.Errorf("%q: got %+v, want %q", content, v, want)
		}
	}
}

// Before 1.3.19 `ipsec saref` forces userspace mode whatever its value, unless a later `force
// userspace` says otherwise.
func TestSarefForces(t *testing.T) {
	for _, tt := range []struct {
		keys             string
		line             int
		old, now, unsure bool // 1.3.18, 1.3.20, not known
	}{
		{"", 0, false, false, false},
		{"ipsec saref = no\n", 2, true, false, true},
		{"ipsec saref = yes\n", 2, true, true, true},
		{"port = 1701\nipsec saref=n\n", 3, true, false, true},
		{"ipsec saref = no\nforce userspace = no\n", 0, false, false, false},
		{"force userspace = no\nipsec saref = no\n", 3, true, false, true},
		{"force userspace = yes\nipsec saref = no\n", 0, false, false, false},
		{"ipsec saref = no\nforce userspace = yes\n", 0, false, false, false},
		{"ipsec saref = yes\nipsec saref = no\n", 3, true, true, true},
	} {
		c, err := ParseConf("x", []byte("[global]\n"+tt.keys))
		if err != nil {
			t.Fatal(err)
		}
		version := func(text string) Version { return FindVersion([]byte("\x00xl2tpd-" + text + "\x00")) }
		old, now, unsure := c.SarefForces(version("1.3.18")), c.SarefForces(version("1.3.20")), c.SarefForces(Version{})
		if c.SarefLine != tt.line || old != tt.old || now != tt.now || unsure != tt.unsure {
			t.Errorf("%q: line %d, %v %v %v, want %+v", tt.keys, c.SarefLine, old, now, unsure, tt)
		}
		if c.SarefForces(version("1.3.12")) != tt.old || c.SarefForces(version("1.3.19dev1")) != tt.now || c.SarefForces(version("1.10.2")) != tt.now {
			t.Errorf("%q: other versions", tt.keys)
		}
	}
}
