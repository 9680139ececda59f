package main

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"xl2tpd-keepalive/internal/config"
)

const deploy = "../../deploy/"

// commandLines returns the commands, each with its flags.
func commandLines() map[string][]string {
	lines := map[string][]string{}
	for _, c := range commands() {
		lines[c.name] = nil
		o := defaults()
		c.flagSet(&o).VisitAll(func(f *flag.Flag) { lines[c.name] = append(lines[c.name], dashed(f.Name)) })
	}
	return lines
}

// keys returns the keys of keepalive.conf as its parser names them.
func keys(t *testing.T) []string {
	_, err := config.Parse("", []byte("[global]\nno such key = 1\n"))
	_, list, ok := strings.Cut(err.Error(), "the keys are ")
	if !ok {
		t.Fatal(err)
	}
	return strings.Split(list, ", ")
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(deploy + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A reader finds a command in the file with its name.
func TestFilesOfCommands(t *testing.T) {
	for _, c := range commands() {
		name := strings.ReplaceAll(c.name, "-", "") + ".go"
		if _, err := os.Stat(name); err != nil {
			t.Errorf("the command %s has no file of its name: %v", c.name, err)
		}
	}
}

// The manual has every command and flag there is, and its synopsis no flag that a command does not take.
func TestManualOfCommands(t *testing.T) {
	page := read(t, "xl2tpd-keepalive.8")
	for command, flags := range commandLines() {
		_, synopsis, ok := strings.Cut(page, "\n.Cm "+command+"\n")
		if !ok || !strings.Contains(page, "\n.It Cm "+command+"\n") {
			t.Errorf("xl2tpd-keepalive(8) lacks %s", command)
		}
		synopsis, _, _ = strings.Cut(synopsis, "\n.Nm")
		var described []string
		for _, m := range regexp.MustCompile(`(?m)^\.Op Fl (\S+)`).FindAllStringSubmatch(synopsis, -1) {
			described = append(described, "-"+m[1])
		}
		slices.Sort(described)
		slices.Sort(flags)
		if !slices.Equal(described, flags) {
			t.Errorf("xl2tpd-keepalive(8): %s has flags %q, usage %q", command, described, flags)
		}
		for _, flag := range flags {
			if !strings.Contains(page, "\n.It Fl "+flag[1:]) {
				t.Errorf("xl2tpd-keepalive(8) does not describe %s", flag)
			}
		}
	}
}

// The manual and the installed file have every key there is, and no other.
func TestManualOfKeys(t *testing.T) {
	want := keys(t)
	slices.Sort(want)
	for name, key := range map[string]string{
		"keepalive.conf.5": `(?m)^\.It Ic (.*) No = `,
		"keepalive.conf":   `(?m)^;([a-z ]+) = `,
	} {
		var got []string
		for _, m := range regexp.MustCompile(key).FindAllStringSubmatch(read(t, name), -1) {
			got = append(got, m[1])
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, want) {
			t.Errorf("%s has the keys %q, the parser %q", name, got, want)
		}
	}
}

// What the installed file shows as comments is what holds without it.
func TestInstalledConfig(t *testing.T) {
	text := read(t, "keepalive.conf")
	global, _, _ := strings.Cut(text, ";[lac ")
	shown := regexp.MustCompile(`(?m)^;(\[|[a-z ]+ = )`).ReplaceAllString(global, "$1")
	for _, text := range []string{text, shown} {
		c, err := config.Parse("", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if c.Global != config.Defaults() || len(c.Sections) > 0 {
			t.Errorf("got %+v, want the defaults and no section", c)
		}
	}
	if all := regexp.MustCompile(`(?m)^;(\[|[a-z ]+ = )`).ReplaceAllString(text, "$1"); all == text {
		t.Error("no commented settings")
	} else if _, err := config.Parse("", []byte(all)); err != nil {
		t.Errorf("with every comment taken away: %v", err)
	}
}

// A reload with a wrong file fails before the service is told.
func TestReloadChecksFirst(t *testing.T) {
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^ExecReload=(.*)$`).FindAllStringSubmatch(read(t, "xl2tpd-keepalive.service"), -1) {
		all = append(all, m[1])
	}
	if want := []string{"/usr/sbin/xl2tpd-keepalive check-config", "/bin/kill -HUP $MAINPID"}; !slices.Equal(all, want) {
		t.Errorf("%q, want %q", all, want)
	}
}

func TestManualForm(t *testing.T) {
	for _, page := range []string{"xl2tpd-keepalive.8", "keepalive.conf.5"} {
		for _, command := range [][]string{
			{"mandoc", "-Tlint", "-Wwarning", deploy + page},
			{"man", "--warnings", "-l", "-Tutf8", "-Z", deploy + page},
		} {
			c := exec.Command(command[0], command[1:]...)
			var errs strings.Builder
			c.Stderr = &errs
			out, err := c.Output()
			if command[0] == "mandoc" {
				errs.Write(out)
			}
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if err != nil || errs.Len() > 0 {
				t.Errorf("%q: %v\n%s", command, err, &errs)
			}
		}
	}
}

// The source package carries the code of other modules in vendor/, and debian/copyright has the terms of each.
func TestCopyright(t *testing.T) {
	text := read(t, "debian/copyright")
	out, err := exec.Command("go", "list", "-deps", "-test", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", "../../...").Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := strings.Fields(string(out))
	if len(modules) == 0 {
		t.Error("go list names no modules")
	}
	var folders []string
	for _, m := range regexp.MustCompile(`(?m)^(?:Files:)? +vendor/(\S+/)\*$`).FindAllStringSubmatch(text, -1) {
		folders = append(folders, m[1])
	}
	for _, m := range modules {
		if !slices.ContainsFunc(folders, func(f string) bool { return strings.HasPrefix(m+"/", f) }) {
			t.Errorf("debian/copyright lacks %s", m)
		}
	}
	for _, f := range folders {
		if !slices.ContainsFunc(modules, func(m string) bool { return strings.HasPrefix(m+"/", f) || strings.HasPrefix(f, m+"/") }) {
			t.Errorf("debian/copyright names %s, of which nothing is used", f)
		}
	}
}
