package doctor

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"xl2tpd-keepalive/internal/message"
)

// A starter is a place where a daemon starts the files.
type starter struct {
	pattern string
	starts  func(e *checker, path string) bool
}

// runParts matches the names that run-parts and Debian's cron accept: none with a dot.
var runParts = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

func always(*checker, string) bool { return true }

func (c *checker) executable(path string) bool {
	info, err := os.Stat(c.path(path))
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

func named(_ *checker, path string) bool { return runParts.MatchString(filepath.Base(path)) }

func namedAndExecutable(e *checker, path string) bool { return named(e, path) && e.executable(path) }

// wanted reports whether a target starts a service, or a timer that a target starts.
func wanted(e *checker, path string) bool {
	name := filepath.Base(path)
	timer := strings.TrimSuffix(name, ".service") + ".timer"
	for _, unit := range []string{name, timer} {
		for _, dir := range []string{"/etc/systemd/system/*.wants/", "/etc/systemd/system/*.requires/"} {
			if links, _ := filepath.Glob(e.path(dir + unit)); len(links) > 0 { // the patterns are good
				return true
			}
		}
	}
	return e.otherUnit(name)
}

// otherUnit reports whether another unit, such as a timer of another name, starts a service.
func (c *checker) otherUnit(name string) bool {
	paths, _ := filepath.Glob(c.path("/etc/systemd/system/*"))
	for _, p := range paths {
		for line := range strings.Lines(c.text(c.name(p))) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			if slices.Contains([]string{"Unit", "OnFailure", "OnSuccess", "Wants", "Requires"}, key) && slices.Contains(strings.Fields(value), name) {
				return true
			}
		}
	}
	return false
}

var starters = []starter{
	{"/etc/crontab", always},
	{"/etc/cron.d/*", named},
	{"/var/spool/cron/crontabs/*", always},
	{"/etc/cron.hourly/*", namedAndExecutable},
	{"/etc/cron.daily/*", namedAndExecutable},
	{"/etc/cron.weekly/*", namedAndExecutable},
	{"/etc/systemd/system/*.service", wanted},
	{"/etc/ppp/ip-up", (*checker).executable},
	{"/etc/ppp/ip-down", (*checker).executable},
	{"/etc/ppp/ip-up.local", (*checker).executable},
	{"/etc/ppp/ip-down.local", (*checker).executable},
	{"/etc/ppp/ip-up.d/*", namedAndExecutable},
	{"/etc/ppp/ip-down.d/*", namedAndExecutable},
	{"/etc/rc.local", (*checker).executable},
	{"/etc/NetworkManager/dispatcher.d/*", (*checker).executable},
}

// Directories where administrators keep scripts.
var scriptFolders = []string{
	"/usr/local/sbin/*", "/usr/local/bin/*", "/root/*", "/root/bin/*", "/opt/*", "/opt/*/*", "/opt/*/bin/*",
}

// dialers returns the files that dial, or restart a daemon that carries the tunnels: those that a
// daemon surely starts, and those without a known starter.
func (c *checker) dialers() (sure, perhaps []message.Text) {
	started := map[string]string{}
	for _, s := range starters {
		for _, path := range c.glob(s.pattern) {
			if !s.starts(c, path) {
				continue
			}
			started[path] = ""
			by := c.runs(path, started, 0)
			started[path] = by
			switch by {
			case "":
			case path:
				sure = append(sure, message.Data(path))
			default:
				sure = append(sure, message.Sprintf("%s (runs %s)", path, by))
			}
		}
	}
	patterns := scriptFolders
	for _, s := range starters {
		patterns = append(patterns[:len(patterns):len(patterns)], s.pattern)
	}
	for _, pattern := range patterns {
		for _, path := range c.glob(pattern) {
			if _, known := started[path]; !known && slices.ContainsFunc(commands(path, c.text(path)), c.dials) {
				perhaps = append(perhaps, message.Data(path))
			}
		}
	}
	return sure, perhaps
}

func (c *checker) glob(pattern string) (all []string) {
	paths, _ := filepath.Glob(c.path(pattern)) // the patterns are good
	for _, p := range paths {
		all = append(all, c.name(p))
	}
	return all
}
