// Package config reads keepalive.conf.
//
// The file is optional, and has the format and the section names of xl2tpd.conf.
// The package is strict: it returns an error with file and line for anything that
// it does not know.
package config

import (
	"net/netip"
	"slices"
	"strings"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// DefaultPath is the path of the file.
const DefaultPath = "/etc/xl2tpd/keepalive.conf"

// Config is one good keepalive.conf. It is never changed once delivered.
type Config struct {
	Path     string
	Global   Settings  // for every section that sets nothing else
	Sections []Section // [lac …] and [lns …], in the file's order
	Metrics  Listen    // where the service serves metrics; zero: nowhere

	MetricsLine int            // of the key; 0: it is not set
	HookLines   map[string]int // of the keys, by executable; the first of several
}

// Listen is a network and an address as net.Listen takes them.
type Listen struct {
	Network string // "unix" or "tcp"
	Address string
}

// Section is one [lac NAME] or [lns NAME]. Name "default" holds for all of the kind
// that have no section, and for keys that their section does not set.
type Section struct {
	Kind, Name string
	Line       int
	Settings   Settings // complete: includes the keys from [KIND NAME], if this is [KIND FILE NAME], [KIND default] and [global]
}

// everywhere returns the name without the FILE of a section for one xl2tpd.
func (s *Section) everywhere() string {
	_, name := file(s.Name)
	return name
}

// Default is the configuration without any file.
func Default(path string) *Config {
	return &Config{Path: path, Global: Defaults()}
}

// For returns the settings of a LAC (kind "lac") or LNS (kind "lns") of an xl2tpd with that
// configuration file. [KIND FILE NAME] is for that xl2tpd only, [KIND NAME] for all.
func (c *Config) For(path, kind, name string) Settings {
	for _, name := range []string{path + " " + name, name} {
		if s := c.find(kind, name); s != nil {
			return s.Settings
		}
	}
	if s := c.find(kind, "default"); s != nil {
		return s.Settings
	}
	return c.Global
}

// Guard returns the highest mode of any tunnel.
func (c *Config) Guard() GuardMode {
	most := c.Global.HelloGuard()
	for _, s := range c.Sections {
		most = max(most, s.Settings.HelloGuard())
	}
	return most
}

// SendsEchoes reports whether any tunnel gets echo requests.
func (c *Config) SendsEchoes() bool {
	return c.Global.SendsEchoes() || slices.ContainsFunc(c.Sections, func(s Section) bool { return s.Settings.SendsEchoes() })
}

// Hooks returns the executables of all sections.
func (c *Config) Hooks() []string {
	all := []string{c.Global.Hook}
	for _, s := range c.Sections {
		all = append(all, s.Settings.Hook)
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(path string) bool { return path == "" })
}

// summary returns, for the log, the settings of tunnels without a section, and the number of sections.
func (c *Config) summary() []any {
	g := c.Global
	keepalive := map[bool]string{true: "yes", false: "no"}[g.Keepalive]
	if g.Observe {
		keepalive = "observe"
	}
	all := []any{"keepalive", keepalive, "interval", g.Interval, "timeout", g.Timeout, "failures", g.Failures, "hello_guard", g.Guard.String(), "recover", g.Recover.String()}
	if g.Hook != "" {
		all = append(all, "hook", g.Hook)
	}
	if c.Metrics.Address != "" {
		all = append(all, "metrics", c.Metrics.Address)
	}
	if n := len(c.Sections); n > 0 {
		all = append(all, "own_sections", n)
	}
	return all
}

// MetricsFault returns why the metrics are open to other hosts, or to no reader at all; empty: neither.
func (c *Config) MetricsFault() message.Text {
	switch c.Metrics.Network {
	case "tcp":
		if at, err := netip.ParseAddrPort(c.Metrics.Address); err == nil && at.Addr().IsUnspecified() {
			return c.at(c.MetricsLine, "metrics = %s: everybody who reaches this host can read them; 127.0.0.1:%d is for this host alone", c.Metrics.Address, at.Port())
		}
	case "unix":
		if !strings.HasPrefix(c.Metrics.Address, runDir) {
			return c.at(c.MetricsLine, "metrics = %s: the service's sandbox has no such place; put the socket below %s", c.Metrics.Address, runDir)
		}
	}
	return ""
}

// HookFault puts the place of an executable's key before what is wrong with it.
func (c *Config) HookFault(path string, err error) message.Text {
	return c.at(c.HookLines[path], "hook will not be run: %v", err)
}

func (c *Config) at(line int, format message.Format, args ...any) message.Text {
	return message.Sprintf("%s:%d: %s", c.Path, line, message.Sprintf(format, args...))
}

// runDir is the only directory that the service can write to.
const runDir = "/run/xl2tpd-keepalive/"

func (c *Config) find(kind, name string) *Section {
	for i := range c.Sections {
		if s := &c.Sections[i]; s.Kind == kind && xl2tpdconf.SameName(s.Name, name) {
			return s
		}
	}
	return nil
}
