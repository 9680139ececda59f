package main

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An interactive shell at a terminal completes every command and flag, and the
// names of files behind those that want one.
func TestCompletion(t *testing.T) {
	files, err := filepath.Abs(deploy + "completion")
	if err != nil {
		t.Fatal(err)
	}
	// The octal numbers are < and >, which the typed line itself must not have.
	for _, s := range []struct{ name, start, load, put string }{
		{"bash", "bash --norc --noprofile -i", ". %s/xl2tpd-keepalive.bash",
			`xl2tpd-keepalive() { printf 'is\074%s\076\n' "$*"; }`},
		{"zsh", "zsh -f -i", "fpath=(%s $fpath); autoload -U compinit; compinit -D -u",
			`xl2tpd-keepalive() { printf 'is\074%s\076\n' "$*" }`},
		{"fish", "fish --no-config -i", "source %s/xl2tpd-keepalive.fish",
			`function xl2tpd-keepalive; printf 'is\074%s\076\n' "$argv"; end`},
	} {
		t.Run(s.name, func(t *testing.T) {
			sh := startShell(t, s.start)
			sh.enter(s.put)
			sh.enter(fmt.Sprintf(s.load, files))
			sh.complete("vers", "version") // until then the shell is still starting
			for command, flags := range commandLines() {
				if find(command).hidden {
					continue
				}
				sh.complete(command[:len(command)-1], command)
				for _, flag := range flags {
					typed := flag[:len(flag)-1]
					if typed == "-" { // a flag of one letter is complete
						typed = flag
					}
					sh.complete(command+" "+typed, command+" "+flag)
				}
			}
			sh.complete("run --debug --config "+files+"/_xl2tpd-keep", "run --debug --config "+files+"/_xl2tpd-keepalive")
			sh.complete("check-config --xl2tpd-config "+files+"/_xl2tpd-keep", "check-config --xl2tpd-config "+files+"/_xl2tpd-keepalive")
		})
	}
}

// shell is one at a pseudo-terminal, which script(1) makes.
type shell struct {
	t     *testing.T
	in    io.Writer
	lines chan string
	seen  strings.Builder
}

func startShell(t *testing.T, command string) *shell {
	c := exec.Command("script", "--quiet", "--command", command, "/dev/null")
	c.Env = append(c.Environ(), "TERM=dumb", "PS1=$ ", "HOME="+t.TempDir(), "LC_ALL=C.UTF-8")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	sh := &shell{t: t, in: in, lines: make(chan string)}
	go func() {
		defer close(sh.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			sh.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		sh.enter("exit") // one that is hung up would still write to its home
		defer time.AfterFunc(20*time.Second, func() { c.Process.Kill() }).Stop()
		for range sh.lines {
		}
		c.Wait()
	})
	return sh
}

func (sh *shell) enter(line string) { io.WriteString(sh.in, line+"\r") }

// complete types a line's beginning and the tab key, and waits for the program to be called with want.
func (sh *shell) complete(typed, want string) {
	sh.t.Helper()
	sh.enter("xl2tpd-keepalive " + typed + "\t")
	deadline := time.After(20 * time.Second)
	for {
		select {
		case line, ok := <-sh.lines:
			if !ok {
				sh.t.Fatalf("the shell has ended:\n%s", &sh.seen)
			}
			fmt.Fprintln(&sh.seen, line)
			_, got, ok := strings.Cut(line, "is<")
			if !ok {
				continue
			}
			if got, _, _ = strings.Cut(got, ">"); strings.TrimSpace(got) != want {
				sh.t.Fatalf("%q and the tab key make %q, not %q", typed, got, want)
			}
			return
		case <-deadline:
			sh.t.Fatalf("nothing comes of %q and the tab key:\n%s", typed, &sh.seen)
		}
	}
}
