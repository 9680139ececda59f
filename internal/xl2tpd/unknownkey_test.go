package xl2tpd

import "testing"

// Only an executable without a key makes sure that xl2tpd does not start with it.
func TestUnknownKeys(t *testing.T) {
	c, err := ParseConf("x.conf", []byte("[lac office]\nredial = yes\nTimeout = 15\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name       string
		executable []byte
		text       string // empty: the key is known
		certain    bool
	}{
		{"no executable", nil, `x.conf:3: xl2tpd knows no "timeout" up to 1.3.20, and does not start with it; a later one may`, false},
		{"one without the key", []byte("\x00redial timeout\x00"), `x.conf:3: xl2tpd knows no "timeout", and does not start with it`, true},
		{"one with the key", []byte("\x00redial\x00TimeOut\x00"), "", false},
	} {
		all := c.UnknownKeys(tc.executable)
		switch {
		case tc.text == "" && len(all) > 0:
			t.Errorf("%s: got %v, want none", tc.name, all)
		case tc.text != "" && (len(all) != 1 || all[0].Text.String() != tc.text || all[0].Certain != tc.certain):
			t.Errorf("%s: %v, want %s", tc.name, all, tc.text)
		}
	}
}
