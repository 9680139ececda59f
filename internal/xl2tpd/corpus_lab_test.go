//go:build lab

package xl2tpd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// specimen is a real xl2tpd with a file, in a network of its own in which nobody answers.
type specimen struct {
	t       *testing.T
	dir     string
	log     string // a file
	process *os.Process
	ended   chan struct{}
}

// nobody answers at the addresses of the files, and each may be this host's own.
const alone = "ip link set lo up && sysctl -qw net.ipv4.ip_nonlocal_bind=1 && exec xl2tpd -D -c conf -C control -p pid -s /dev/null"

func startSpecimen(t *testing.T, text string) *specimen {
	t.Helper()
	d := &specimen{t: t, dir: t.TempDir(), ended: make(chan struct{})}
	d.log = d.path("log")
	write(t, d.path("conf"), text)
	log, err := os.Create(d.log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "-n", "sh", "-c", alone)
	cmd.Dir, cmd.Stdout, cmd.Stderr = d.dir, log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.process = cmd.Process
	go func() { _ = cmd.Wait(); close(d.ended) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-d.ended; log.Close() })
	return d
}

func (s *specimen) path(name string) string { return filepath.Join(s.dir, name) }

func (s *specimen) logged() string {
	s.t.Helper()
	b, err := os.ReadFile(s.log)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// said waits until the log has what is wanted from an index on, or xl2tpd has ended, and returns the
// log from there.
func (s *specimen) said(from int, wanted *regexp.Regexp) string {
	s.t.Helper()
	for range 500 {
		ended := false
		select {
		case <-s.ended:
			ended = true
		case <-time.After(20 * time.Millisecond):
		}
		if log := s.logged()[from:]; ended || wanted.MatchString(log) {
			return log
		}
	}
	s.t.Fatalf("no %v in\n%s", wanted, s.logged())
	return ""
}

// dump is what xl2tpd says of itself on a signal.
func (s *specimen) dump() string {
	s.t.Helper()
	from := len(s.logged())
	if err := s.process.Signal(syscall.SIGUSR1); err != nil {
		s.t.Fatal(err)
	}
	return s.said(from, regexp.MustCompile("(?s)Config File.*={30}"))
}

// awaitDials waits until each attempt to dial has come to its end.
func (s *specimen) awaitDials() {
	s.t.Helper()
	for range 100 {
		if strings.Contains(s.dump(), "tunnels open: 0") {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Fatalf("tunnels stay open:\n%s", s.logged())
}

var (
	prefix     = regexp.MustCompile(`xl2tpd\[\d+\]: `)
	listening  = regexp.MustCompile(`Listening on IP address (\S+), port (-?\d+)\n`)
	closed     = regexp.MustCompile(`(?:Will redial in (\d+) seconds\n[^\n]*\n)?Connection 0 closed to (\S+), port (\d+)`)
	noSuchHost = regexp.MustCompile(`Host name lookup failed for (.*)\.\n(?:Will redial in (\d+) seconds)?`)
)

// outline is what xl2tpd has made of its file, in the words of outline in corpus_test.go, in no order.
func (s *specimen) outline() (lines []string, refusal string) {
	s.t.Helper()
	log := s.said(0, listening)
	if m := listening.FindStringSubmatch(log); m == nil {
		return nil, log
	} else {
		lines = append(lines, fmt.Sprintf("listens on %s port %s\n", m[1], m[2]))
	}
	if strings.Contains(log, "Not looking for kernel support") {
		lines = append(lines, "userspace mode\n")
	}
	lines = append(lines, lnsNames(ask(s.t, s.path("control"), s.path("reply"), "x", "lac.count="))...)
	lacs := lacsIn(s.dump())
	s.awaitDials()
	auto := prefix.ReplaceAllString(s.logged(), "")
	for _, hosts := range lacs {
		lines = append(lines, "lac "+hosts[0]+"\n")
		if len(hosts) > 2 {
			lines = append(lines, "several lns: "+strings.Join(hosts[1:], " ")+"\n")
		}
		if CheckLAC(hosts[0]) == nil {
			ask(s.t, s.path("control"), s.path("reply"), "c "+hosts[0], "\n")
			s.awaitDials()
		}
	}
	all := dials(prefix.ReplaceAllString(s.logged(), ""))
	for to, redial := range all {
		verb := "dials "
		if _, ok := dials(auto)[to]; ok {
			verb = "autodials "
		}
		lines = append(lines, verb+to+", "+redial+"\n")
	}
	return lines, ""
}

func lnsNames(answer string) (lines []string) {
	for _, m := range regexp.MustCompile(`(?m)AVAILABLE lns\.\d+\.name=(.*)$`).FindAllStringSubmatch(answer, -1) {
		lines = append(lines, "lns "+m[1]+"\n")
	}
	return lines
}

// lacsIn returns the LACs of a dump, each its name and then its hosts, which stand in one line.
func lacsIn(dump string) (all [][]string) {
	for _, part := range prefix.Split(dump, -1) {
		name, ok := strings.CutPrefix(part, "LAC entry ")
		switch {
		case ok:
			all = append(all, []string{strings.TrimSuffix(name, ", LNS is/are:")})
		case strings.HasPrefix(part, " ") && len(all) > 0 && part != " [none]":
			last := &all[len(all)-1]
			*last = append(*last, part[1:])
		}
	}
	return all
}

// dials returns where a log's attempts to dial went, and when the next one is due.
func dials(log string) map[string]string {
	again := func(seconds string) string {
		if seconds == "" {
			return "never again"
		}
		return fmt.Sprintf("again after %v", time.Duration(atoi(seconds))*time.Second)
	}
	all := map[string]string{}
	for _, m := range closed.FindAllStringSubmatch(log, -1) {
		all[m[2]+" port "+m[3]] = again(m[1])
	}
	for _, m := range noSuchHost.FindAllStringSubmatch(log, -1) {
		all[m[1]] = again(m[2])
	}
	return all
}

// installed is the xl2tpd of this host.
func installed(t *testing.T) Version {
	t.Helper()
	program, err := exec.LookPath("xl2tpd")
	if err != nil {
		t.Fatal(err)
	}
	executable, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	return FindVersion(executable)
}

var redialsName = regexp.MustCompile(`^(dials [a-z].*, )again after .*`)

// visible is what the log of the xl2tpd that is installed shows of a .want, in order.
func visible(t *testing.T, want []string) (lines []string) {
	t.Helper()
	version := installed(t)
	old := version.before(1, 3, 19)
	for _, line := range want {
		if version.before(1, 3, 18) { // it redials no name that it could not look up
			line = redialsName.ReplaceAllString(line, "${1}never again")
		}
		switch {
		case strings.HasPrefix(line, "+ "), line == oldUserspace+"\n" && !old:
		case line == oldUserspace+"\n":
			lines = append(lines, "userspace mode\n")
		default:
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

// The real xl2tpd takes each file as its .want says, or refuses it. If the end of a range is abbreviated, xl2tpd looks for
// dots behind the start's address, in bytes that it has not written (file.c, set_range). So it refuses the range now and
// then, and takes it the next time. A start of 15 characters leaves one such byte. Debian 11's xl2tpd looks at no value of
// `flow bit`, and does not know `cap backoff`.
func TestLabSamples(t *testing.T) {
	older := installed(t).before(1, 3, 18)
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			// It gives up dialling with the first attempt.
			text := s.text + "\n[global]\nmax retries = 0\n"
			got, refusal := startSpecimen(t, text).outline()
			for range 4 {
				if s.err == "" && strings.Contains(refusal, "start is greater than end!") {
					got, refusal = startSpecimen(t, text).outline()
				}
			}
			switch {
			case older && (s.name == "bad-flow-bit" || s.name == "tuning"):
				if knows := !strings.Contains(refusal, "'cap backoff'"); knows != (s.name == "bad-flow-bit") {
					t.Errorf("an xl2tpd before 1.3.18: %q", refusal)
				}
			case s.err != "" && refusal == "":
				t.Errorf("xl2tpd takes the file, we: %s", s.err)
			case strings.HasPrefix(s.name, "unknown-") && !strings.Contains(refusal, "Unknown field"):
				t.Errorf("xl2tpd knows the key: %q", refusal)
			case s.err != "", strings.HasPrefix(s.name, "unknown-"):
			case refusal != "":
				t.Errorf("xl2tpd: %s", refusal)
			default:
				slices.Sort(got)
				if d := cmp.Diff(visible(t, s.want), got); d != "" {
					t.Error(d)
				}
			}
		})
	}
}
