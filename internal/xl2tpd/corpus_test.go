package xl2tpd

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample is a file of testdata/conf. Beside it lies what is read from it (.want), or why it is
// refused (.err). What a file called unknown-* says is read, although xl2tpd refuses it for a key
// that a later or a patched xl2tpd may know.
type sample struct {
	name, text string
	want       []string
	err        string
}

//go:embed testdata/conf
var conf embed.FS

func samples(t *testing.T) []sample {
	t.Helper()
	paths, err := fs.Glob(conf, "testdata/conf/*.conf")
	if err != nil || len(paths) == 0 {
		t.Fatal("no samples:", err)
	}
	var all []sample
	for _, file := range paths {
		base := strings.TrimSuffix(file, ".conf")
		s := sample{name: path.Base(base), text: embedded(t, file), err: strings.TrimSpace(embedded(t, base+".err"))}
		s.want = slices.Collect(strings.Lines(embedded(t, base+".want")))
		if (s.err == "") == (s.want == nil) {
			t.Fatalf("%s: one of .want and .err must lie beside it", file)
		}
		all = append(all, s)
	}
	return all
}

// embedded is what a file says; one that is not there says nothing.
func embedded(t *testing.T, path string) string {
	t.Helper()
	b, err := conf.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}

// oldUserspace is how `ipsec saref = no` ends, see SarefForces.
const oldUserspace = "userspace mode before 1.3.19"

// outline says in lines what a file makes xl2tpd do. Of lines that begin with "+", xl2tpd's log
// shows nothing.
func outline(c *Conf) (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)+"\n") }
	add("listens on %v port %d", c.ListenAddr, c.Port)
	switch {
	case c.ForceUserspace:
		add("userspace mode")
	case c.SarefLine != 0:
		add("%s", oldUserspace)
	}
	add("+ max retries %d, access control %t, saref %t", c.MaxRetries, c.AccessControl, c.Saref)
	for _, s := range c.Sections {
		add("%s %s", s.Kind, s.Name)
		if len(s.LNS) > 1 {
			add("several lns: %s", strings.Join(s.LNS, " "))
		}
		if s.PPPOptFile != "" {
			add("+ pppoptfile %s", s.PPPOptFile)
		}
		if s.Kind == "lns" {
			add("+ addresses %v, callers %v", s.IPRanges, s.Callers)
			continue
		}
		if s.MaxRedials != 0 {
			add("+ max redials %d", s.MaxRedials)
		}
		if len(s.LNS) > 0 && s.LNS[0] != "" {
			add("%s", dialLine(&s))
		}
	}
	return lines
}

// dialLine is how a LAC dials: to an address and port, or to a name.
func dialLine(s *Section) string {
	verb, to, redial := "dials", s.LNS[0], "never again"
	if a, ok := ParseAddr(to); ok {
		to = fmt.Sprintf("%v port %d", a, s.LNSPort)
	}
	if s.Autodial {
		verb = "autodials"
	}
	if s.Redial {
		redial = fmt.Sprintf("again after %v", s.RedialTimeout)
	}
	return fmt.Sprintf("%s %s, %s", verb, to, redial)
}

func TestSamples(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			c, err := ParseConf("f", []byte(s.text))
			if s.err != "" || err != nil {
				if got := fmt.Sprint(err); got != s.err {
					t.Errorf("got %s\nwant %s", got, s.err)
				}
				return
			}
			if d := cmp.Diff(s.want, outline(c)); d != "" {
				t.Errorf("mismatch (-want +got):\n%s", d)
			}
		})
	}
}
