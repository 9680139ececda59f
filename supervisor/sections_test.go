package supervisor

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/message"
)

// No xl2tpd may have the LAC or LNS of a section in keepalive.conf. That is a problem, logged once,
// until one of the two files is changed.
func TestUnknownSection(t *testing.T) {
	parse := func(text string) *config.Config {
		c, err := config.Parse("k", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	f := newFleet(1)
	b, _ := f.start()
	logged := 0
	step := func(ev Event) []string {
		for _, a := range b.Step(ev, epoch) {
			if n, ok := a.(Note); ok && slices.ContainsFunc(b.health.unknown, func(t message.Text) bool { return t.String() == n.Text }) {
				logged++
			}
		}
		problems := b.Overview(epoch).Problems
		var all []string
		for _, p := range problems {
			if text := p.Text.String(); strings.HasPrefix(text, "k:") {
				all = append(all, text)
			}
		}
		return all
	}
	const kind = "k:3: no xl2tpd has a [lns branch0], this section does nothing; did you mean [lac Branch0]?"
	const typo = "k:1: no xl2tpd has a [lac brnach0], this section does nothing; did you mean [lac Branch0]?"
	if got := step(parse("[lac brnach0]\nkeepalive = no\n[lns branch0]\nkeepalive = no\n")); !slices.Equal(got, []string{typo, kind}) || logged != 2 {
		t.Errorf("%q, %d logged", got, logged)
	}
	if got := step(parse("[lac brnach0]\nkeepalive = no\n")); !slices.Equal(got, []string{typo}) || logged != 2 {
		t.Errorf("%q, %d logged", got, logged)
	}
	unreadable := f.xl2tpd
	unreadable.Instances = slices.Clone(unreadable.Instances)
	unreadable.Instances[0].Conf, unreadable.Instances[0].ConfErr = nil, fs.ErrPermission
	if got := step(unreadable); len(got) > 0 {
		t.Errorf("nobody knows: %q", got)
	}
	if got := step(f.xl2tpd); !slices.Equal(got, []string{typo}) {
		t.Errorf("got %q, want %q", got, []string{typo})
	}
	if got := step(parse("[lac branch0]\nkeepalive = no\n")); len(got) > 0 {
		t.Errorf("got %q, want no text", got)
	}
}
