package doctor

import (
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	maxScript = 256 << 10 // bytes of a script to read
	maxDepth  = 4         // of scripts that run scripts
)

// The daemons that carry the tunnels, as units and as init scripts. A longer name that begins with one
// of these, such as xl2tpd-keepalive, does not match.
const (
	carriers = `(?:xl2tpd|strongswan(?:-starter|-swanctl)?|ipsec|charon-systemd)(?:\.service)?`
	nameEnds = `(?:$|[^\w.@-])`
)

// Commands that dial, or that also end other tunnels.
var (
	writesPipe = regexp.MustCompile(`\bxl2tpd-control\b|\bl2tp-control\b`)
	handlesIt  = regexp.MustCompile(`-C\s*\S*l2tp-control|^\s*(?:(?:if|while|until|!)\s+)*(?:rm|mkdir|mkfifo|chmod|chown|ls|test|\[)\s|` +
		`\bxl2tpd-control\s+(?:-\S+\s+)*(?:status|available)\b`)
	restarts = regexp.MustCompile(`\bsystemctl\b.*\b(?:restart|try-restart|reload-or-restart|stop|kill)\b.*\b` + carriers + nameEnds + `|` +
		`\b(?:service|invoke-rc\.d)\s+` + carriers + `\s+(?:restart|force-reload|stop)\b|` +
		`/etc/init\.d/` + carriers + `\s+(?:restart|force-reload|stop)\b|` +
		`\bipsec\s+(?:restart|stop)\b|` +
		`\b(?:killall|pkill)\b.*\b(?:xl2tpd|charon)` + nameEnds)

	between    = regexp.MustCompile(`&&|\|\||[;|&]`) // commands of one line
	redirected = regexp.MustCompile(`\d?>>?\s*\S+`)
	pathInText = regexp.MustCompile(`/[\w.+@/-]+`)
	wordInText = regexp.MustCompile(`[\w.+@-]+`)
)

// dials reports whether a command of a line dials, or restarts a daemon that carries the tunnels.
func (c *checker) dials(line string) bool {
	return slices.ContainsFunc(between.Split(line, -1), func(command string) bool {
		return writesPipe.MatchString(command) && !handlesIt.MatchString(command) || restarts.MatchString(command) || c.restartsUnit(command)
	})
}

// restartsUnit reports whether a line restarts the unit of an xl2tpd with another name.
func (c *checker) restartsUnit(line string) bool {
	for _, i := range c.seen.Instances {
		name := strings.TrimSuffix(i.Unit, ".service")
		if name != "" && !i.NetworkManager() && strings.Contains(line, name) &&
			regexp.MustCompile(`\bsystemctl\b.*\b(?:restart|try-restart|stop)\b.*`+regexp.QuoteMeta(name)+`(?:\.service)?`+nameEnds).MatchString(line) {
			return true
		}
	}
	return false
}

// commands returns the lines of a file without comments; of a unit, the lines that run a command.
func commands(path, text string) (lines []string) {
	unit := strings.HasSuffix(path, ".service")
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || unit && !strings.HasPrefix(line, "Exec") {
			continue
		}
		if unit {
			_, line, _ = strings.Cut(line, "=")
			line = strings.TrimLeft(line, " \t-@:+!|") // systemd.service(5), command lines
		}
		lines = append(lines, line)
	}
	return lines
}

// text returns the content of a file that may be a script; empty: it is not one.
func (c *checker) text(path string) string {
	info, err := os.Stat(c.path(path))
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxScript {
		return ""
	}
	return c.read(path)
}

// runs returns the file that dials: path, or a script that it starts directly or indirectly; empty:
// none. started caches the result for each script.
func (c *checker) runs(path string, started map[string]string, depth int) (by string) {
	lines := commands(path, c.text(path))
	for _, line := range lines {
		if c.dials(line) {
			by = path
		}
	}
	if depth == maxDepth {
		return by
	}
	for _, line := range lines {
		for _, script := range c.scriptsIn(line) {
			if script == path {
				continue
			}
			found, looked := started[script]
			if !looked {
				started[script] = "" // ends the recursion if the script runs itself
				found = c.runs(script, started, depth+1)
				started[script] = found
			}
			by = cmp.Or(by, found)
		}
	}
	return by
}

// scriptsIn returns the administrator's own scripts that a line names: by path, or in /usr/local by
// name. A file that the line writes to does not count.
func (c *checker) scriptsIn(line string) (all []string) {
	line = redirected.ReplaceAllString(line, "")
	for _, path := range pathInText.FindAllString(line, -1) {
		path = filepath.Clean(path)
		if !packaged(path) && c.text(path) != "" {
			all = append(all, path)
		}
	}
	for _, word := range wordInText.FindAllString(line, -1) {
		for _, dir := range []string{"/usr/local/sbin/", "/usr/local/bin/"} {
			if path := dir + word; word != "." && word != ".." && c.text(path) != "" {
				all = append(all, path)
			}
		}
	}
	return all
}

// packaged reports whether a path is where packages install their programs.
func packaged(path string) bool {
	of := []string{"/bin/", "/sbin/", "/lib/", "/usr/bin/", "/usr/sbin/", "/usr/lib/", "/usr/share/", "/etc/init.d/", "/proc/", "/sys/", "/dev/"}
	return slices.ContainsFunc(of, func(dir string) bool { return strings.HasPrefix(path, dir) })
}
