// Package config reads keepalive.conf.
//
// The file is optional, and has the format and the section names of xl2tpd.conf.
// The package is strict: it returns an error with file and line for anything that
// it does not know.
package config

import (
	"bytes"
	"cmp"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/typo"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// DefaultPath is the path of the file.
const DefaultPath = "/etc/xl2tpd/keepalive.conf"

// maxMistakes is how many unreadable lines are reported at a time.
const maxMistakes = 10

// Limits of the keys, in seconds.
const (
	minInterval, maxInterval = 1, 3600
	minTimeout, maxTimeout   = 1, 60
)

const minFailures, maxFailures = 1, 20

// Settings are the settings of one LAC or LNS.
type Settings struct {
	Keepalive bool          // watch its links and send echo requests
	Observe   bool          // with Keepalive: watch only; the service sends, holds and recovers nothing
	Interval  time.Duration // idle time of a link until an echo request
	Timeout   time.Duration // wait for the reply; never longer than Interval
	Failures  int           // lost echo requests in a row until a tunnel is silent
	Target    netip.Addr    // echo this address; invalid: the far-end PPP peer
	Guard     Guard
	Recover   Recover
	Hook      string // executable to run at events; empty: none
}

// Recover is how the service brings back a LAC's tunnel that has ended or is dead.
type Recover int

const (
	RecoverOff    Recover = iota // not at all
	RecoverRedial                // make xl2tpd dial
	RecoverFull                  // also initiate or renew the IPsec SA
	RecoverAuto                  // as RecoverFull, if xl2tpd.conf has `redial` or `autodial` for the LAC
)

func (r Recover) String() string {
	return [...]string{RecoverOff: "off", RecoverRedial: "redial", RecoverFull: "full", RecoverAuto: "auto"}[r]
}

// Guard is which of xl2tpd's Hellos the Hello guard holds back on a tunnel that is alive.
type Guard int

const (
	GuardOff  Guard = iota // none
	GuardAuto              // those that the peer leaves unanswered
	GuardOn                // all, as in RFC 2661 §5.5
)

func (g Guard) String() string {
	return [...]string{GuardOff: "off", GuardAuto: "auto", GuardOn: "on"}[g]
}

// OnlyObserves reports whether a tunnel is watched, and nothing is done to it.
func (s Settings) OnlyObserves() bool { return s.Keepalive && s.Observe }

// HelloGuard returns the Guard in effect: a tunnel that is not watched, or only observed, has none.
func (s Settings) HelloGuard() Guard {
	if !s.Keepalive || s.Observe {
		return GuardOff
	}
	return s.Guard
}

// Recovery returns the Recover in effect: off for a tunnel that is not watched, or only observed.
// wanted decides RecoverAuto: whether xl2tpd.conf has `redial` or `autodial` for the LAC.
func (s Settings) Recovery(wanted bool) Recover {
	switch {
	case !s.Keepalive, s.Observe, s.Recover == RecoverAuto && !wanted:
		return RecoverOff
	case s.Recover == RecoverAuto:
		return RecoverFull
	}
	return s.Recover
}

// idleTimer is the default of a Yamaha router's `l2tp tunnel disconnect time`.
const idleTimer = 60 * time.Second

// TooRare returns why a router's idle timer may end a tunnel in spite of the echo requests; empty: it does not. An echo
// request follows the last sign of life by the interval and a third at most, and then has to reach the router.
func (s Settings) TooRare() message.Text {
	longest := s.Interval * 135 / 100
	if !s.Keepalive || s.Observe || longest < idleTimer {
		return ""
	}
	return message.Sprintf("`interval = %d` lets the link be idle for up to %d s, and the router, a Yamaha, closes the tunnel after %d s "+
		"unless its `l2tp tunnel disconnect time` is longer; use 40 or less",
		int(s.Interval.Seconds()), int(longest.Seconds()), int(idleTimer.Seconds()))
}

// Defaults are the settings without any file.
func Defaults() Settings {
	return Settings{Keepalive: true, Interval: 10 * time.Second, Timeout: 3 * time.Second, Failures: 3, Guard: GuardAuto, Recover: RecoverOff}
}

// Config is one good keepalive.conf. It is never changed once delivered.
type Config struct {
	Path     string
	Global   Settings  // for every section that sets nothing else
	Sections []Section // [lac …] and [lns …], in the file's order
	Metrics  Listen    // where the service serves metrics; zero: nowhere
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
	Settings   Settings // complete: includes the keys from [KIND default] and [global]
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

// Guard returns the highest Guard of any tunnel.
func (c *Config) Guard() Guard {
	most := c.Global.HelloGuard()
	for _, s := range c.Sections {
		most = max(most, s.Settings.HelloGuard())
	}
	return most
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
	all := []any{"keepalive", keepalive, "interval", g.Interval, "timeout", g.Timeout, "hello_guard", g.Guard.String(), "recover", g.Recover.String()}
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
			return message.Sprintf("metrics = %s: everybody who reaches this host can read them; 127.0.0.1:%d is for this host alone", c.Metrics.Address, at.Port())
		}
	case "unix":
		if !strings.HasPrefix(c.Metrics.Address, runDir) {
			return message.Sprintf("metrics = %s: the service's sandbox has no such place; put the socket below %s", c.Metrics.Address, runDir)
		}
	}
	return ""
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

// Load reads a file. The error is a *xl2tpdconf.Error, or the system's if the file
// can't be read; fs.ErrNotExist if there is none.
func Load(path string) (*Config, error) {
	data, err := xl2tpdconf.Read(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// Parse reads a file's content; path is for messages. The error is a *xl2tpdconf.Error, the first
// of those that Mistakes returns.
func Parse(path string, data []byte) (*Config, error) {
	f, err := xl2tpdconf.Parse(path, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	c, mistakes := interpret(path, f)
	if len(mistakes) > 0 {
		return nil, mistakes[0]
	}
	return c, nil
}

// Mistakes returns what is wrong with a file's content, in the order of its lines.
func Mistakes(path string, data []byte) []*xl2tpdconf.Error {
	f, all := legible(path, data)
	_, mistakes := interpret(path, f)
	all = append(all, mistakes...)
	slices.SortStableFunc(all, func(a, b *xl2tpdconf.Error) int { return cmp.Compare(a.Line, b.Line) })
	return slices.CompactFunc(all, func(a, b *xl2tpdconf.Error) bool { return *a == *b })
}

// legible returns a file without the lines that can't be read. It also drops the settings behind a
// section header that can't be read: their section is unknown.
func legible(path string, data []byte) (f *xl2tpdconf.File, all []*xl2tpdconf.Error) {
	lines := bytes.Split(data, []byte("\n"))
	for {
		f, err := xl2tpdconf.Parse(path, bytes.NewReader(bytes.Join(lines, []byte("\n"))))
		var e *xl2tpdconf.Error
		if !errors.As(err, &e) {
			return f, all
		}
		all = append(all, e)
		bad := &lines[e.Line-1]
		if len(all) == maxMistakes || len(*bad) == 0 || bytes.HasPrefix(bytes.TrimSpace(*bad), []byte("[")) {
			lines = lines[:e.Line-1]
			continue
		}
		*bad = nil
	}
}

// interpret builds a Config from the sections of a file, and returns their mistakes. With a mistake
// the Config is incomplete.
func interpret(path string, f *xl2tpdconf.File) (c *Config, mistakes []*xl2tpdconf.Error) {
	drafts := map[string]*draft{}
	c = Default(path)
	for _, s := range f.Sections {
		d, wrong := newDraft(s)
		mistakes = append(mistakes, wrong...)
		if d == nil {
			continue
		}
		if first := drafts[d.id]; first != nil {
			mistakes = append(mistakes, fail(s.Line, "duplicate section [%s], the first is in line %d; put their keys together", d.title, first.line))
			continue
		}
		drafts[d.id] = d
		if s.Kind != "global" {
			c.Sections = append(c.Sections, Section{Kind: s.Kind, Name: s.Name, Line: s.Line})
		}
	}
	global := drafts["global"]
	if global != nil {
		c.Metrics = global.metrics
	}
	complete := len(mistakes) == 0 // else the default of an unreadable key may contradict another key
	merged := func(of ...*draft) Settings {
		s, wrong := merge(of...)
		if wrong != nil && complete {
			mistakes = append(mistakes, wrong)
		}
		return s
	}
	c.Global = merged(global)
	for i := range c.Sections {
		s := &c.Sections[i]
		s.Settings = merged(global, drafts[s.Kind+" default"], drafts[id(s.Kind, s.Name)])
	}
	for _, e := range mistakes {
		e.Path = path
	}
	return c, mistakes
}

// draft is one section with only the keys that it sets.
type draft struct {
	id, title string
	line      int
	keepalive *bool
	observe   bool // if keepalive is set
	interval  *seconds
	timeout   *seconds
	failures  int // 0: not set
	target    netip.Addr
	guard     *Guard
	recover   *Recover
	hook      *string
	metrics   Listen
}

type seconds struct{ n, line int }

func id(kind, name string) string { return kind + " " + xl2tpdconf.Lower(name) }

func fail(line int, format message.Format, args ...any) *xl2tpdconf.Error {
	return &xl2tpdconf.Error{Line: line, Msg: message.Sprintf(format, args...)}
}

// newDraft reads a section; d is nil if the section's name is wrong.
func newDraft(s xl2tpdconf.Section) (d *draft, mistakes []*xl2tpdconf.Error) {
	wrong := func(line int, format message.Format, args ...any) {
		mistakes = append(mistakes, fail(line, format, args...))
	}
	d = &draft{id: "global", title: "global", line: s.Line}
	switch {
	case s.Rest != "":
		wrong(s.Line, "unexpected text %s after the name of the section [%s]; remove it", xl2tpdconf.Quote(s.Rest), s.Kind)
	case s.Kind == "global":
	case strings.TrimSpace(s.Name) == "":
		wrong(s.Line, "[%s] needs a name: [%s NAME] as in xl2tpd.conf, or [%s default]", s.Kind, s.Kind, s.Kind)
	case strings.TrimSpace(s.Name) != s.Name:
		wrong(s.Line, "the name in [%s %s] has white space around it; write [%s %s]", s.Kind, s.Name, s.Kind, strings.TrimSpace(s.Name))
	default:
		d.id, d.title = id(s.Kind, s.Name), s.Kind+" "+s.Name
	}
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	lines := map[string]int{}
	for _, k := range s.Keys {
		k.Name = xl2tpdconf.Fold(k.Name)
		if first := lines[k.Name]; first != 0 {
			wrong(k.Line, "'%s' is set a second time, first in line %d; remove one", k.Name, first)
			continue
		}
		lines[k.Name] = k.Line
		if err := d.set(s.Kind, k); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	return d, mistakes
}

func (d *draft) set(kind string, k xl2tpdconf.Key) (err *xl2tpdconf.Error) {
	if k.Value == "" {
		return fail(k.Line, "'%s' has no value; give one or remove the line", k.Name)
	}
	switch k.Name {
	case "keepalive":
		v, ok := parseBool(k.Value)
		d.observe = strings.EqualFold(k.Value, "observe")
		if !ok && !d.observe {
			return fail(k.Line, "'keepalive' is %s, must be 'yes', 'observe' or 'no'%s", xl2tpdconf.Quote(k.Value), noQuotes(k.Value))
		}
		v = v || d.observe
		d.keepalive = &v
	case "interval":
		d.interval, err = parseSeconds(k, minInterval, maxInterval)
	case "timeout":
		d.timeout, err = parseSeconds(k, minTimeout, maxTimeout)
	case "failures":
		d.failures, err = parseFailures(k)
	case "target":
		if kind != "lac" {
			return fail(k.Line, "'target' belongs in a [lac NAME] section, not in [%s]", d.title)
		}
		d.target, err = parseTarget(k)
	case "hello guard":
		d.guard, err = parseGuard(k)
	case "recover":
		if kind == "lns" {
			return fail(k.Line, "'recover' belongs in [global] or a [lac NAME] section: an LNS does not dial its callers")
		}
		d.recover, err = parseRecover(k)
	case "hook":
		d.hook, err = parseHook(k)
	case "metrics":
		if kind != "global" {
			return fail(k.Line, "'metrics' belongs in [global], not in [%s]", d.title)
		}
		d.metrics, err = parseListen(k)
	default:
		return unknownKey(k)
	}
	return err
}

func parseSeconds(k xl2tpdconf.Key, low, high int) (*seconds, *xl2tpdconf.Error) {
	n, err := strconv.ParseUint(k.Value, 10, 31)
	if err != nil || int(n) < low || int(n) > high {
		return nil, fail(k.Line, "'%s' is %s, must be a whole number of seconds from %d to %d%s", k.Name, xl2tpdconf.Quote(k.Value), low, high, noQuotes(k.Value))
	}
	return &seconds{int(n), k.Line}, nil
}

func parseFailures(k xl2tpdconf.Key) (int, *xl2tpdconf.Error) {
	n, err := strconv.ParseUint(k.Value, 10, 31)
	if err != nil || n < minFailures || n > maxFailures {
		return 0, fail(k.Line, "'failures' is %s, must be a whole number from %d to %d%s", xl2tpdconf.Quote(k.Value), minFailures, maxFailures, noQuotes(k.Value))
	}
	return int(n), nil
}

// parseBool reads xl2tpd.conf's words for yes and no, and also on and off.
func parseBool(value string) (v, ok bool) {
	switch xl2tpdconf.Lower(value) {
	case "on":
		return true, true
	case "off":
		return false, true
	}
	return xl2tpdconf.Bool(value)
}

// noQuotes returns a hint if a value is in quotes: this file has no quotes.
func noQuotes(value string) message.Text {
	if len(value) > 1 && strings.ContainsRune("\"'", rune(value[0])) {
		return "; quotes are not allowed"
	}
	return ""
}

// unknownKey suggests the key that was probably meant. If none is near, it names all.
func unknownKey(k xl2tpdconf.Key) *xl2tpdconf.Error {
	keys := []string{"keepalive", "interval", "timeout", "failures", "target", "hello guard", "recover", "hook", "metrics"}
	spaced := strings.NewReplacer("_", " ", "-", " ").Replace(k.Name)
	if meant := typo.Nearest(spaced, keys); meant != "" {
		return fail(k.Line, "unknown key %s, did you mean '%s'?", xl2tpdconf.Quote(k.Name), meant)
	}
	return fail(k.Line, "unknown key %s; the keys are %s", xl2tpdconf.Quote(k.Name), strings.Join(keys, ", "))
}

func parseGuard(k xl2tpdconf.Key) (*Guard, *xl2tpdconf.Error) {
	if v, ok := parseBool(k.Value); ok {
		guard := map[bool]Guard{true: GuardOn, false: GuardOff}[v]
		return &guard, nil
	}
	if strings.EqualFold(k.Value, "auto") {
		guard := GuardAuto
		return &guard, nil
	}
	return nil, fail(k.Line, "'hello guard' is %s, must be 'auto', 'on' or 'off'", xl2tpdconf.Quote(k.Value))
}

// parseRecover reads `recover`. A plain yes is auto: the service never dials a tunnel that, by
// xl2tpd.conf, a person dials.
func parseRecover(k xl2tpdconf.Key) (*Recover, *xl2tpdconf.Error) {
	if v, ok := parseBool(k.Value); ok {
		far := map[bool]Recover{true: RecoverAuto, false: RecoverOff}[v]
		return &far, nil
	}
	for r, name := range map[Recover]string{RecoverAuto: "auto", RecoverRedial: "redial", RecoverFull: "full"} {
		if strings.EqualFold(k.Value, name) {
			return &r, nil
		}
	}
	return nil, fail(k.Line, "'recover' is %s, must be 'auto', 'redial', 'full' or 'off'", xl2tpdconf.Quote(k.Value))
}

func parseHook(k xl2tpdconf.Key) (*string, *xl2tpdconf.Error) {
	path := filepath.Clean(k.Value)
	on, isBool := parseBool(k.Value)
	switch {
	case isBool && !on:
		path = ""
	case !filepath.IsAbs(path):
		return nil, fail(k.Line, "'hook' is %s, must be 'off' or the whole path of an executable", xl2tpdconf.Quote(k.Value))
	}
	return &path, nil
}

func parseListen(k xl2tpdconf.Key) (Listen, *xl2tpdconf.Error) {
	if on, ok := parseBool(k.Value); ok && !on {
		return Listen{}, nil
	}
	if filepath.IsAbs(k.Value) {
		return Listen{"unix", k.Value}, nil
	}
	address := k.Value
	if port, ok := strings.CutPrefix(xl2tpdconf.Lower(address), "localhost:"); ok {
		address = "127.0.0.1:" + port // without a name lookup, which could fail at the start
	}
	if at, err := netip.ParseAddrPort(address); err == nil && at.Port() != 0 {
		return Listen{"tcp", at.String()}, nil
	}
	return Listen{}, fail(k.Line, "'metrics' is %s, must be 'off', the path of a socket, or ADDRESS:PORT such as 127.0.0.1:9174", xl2tpdconf.Quote(k.Value))
}

func parseTarget(k xl2tpdconf.Key) (netip.Addr, *xl2tpdconf.Error) {
	a, err := netip.ParseAddr(k.Value)
	switch {
	case err != nil:
		return a, fail(k.Line, "'target' is %s, must be an IPv4 address such as 192.0.2.1", xl2tpdconf.Quote(k.Value))
	case !a.Is4():
		return a, fail(k.Line, "'target' is %s, must be an IPv4 address: the links carry no IPv6", xl2tpdconf.Quote(k.Value))
	case a.IsUnspecified() || a.IsLoopback() || a.As4()[0] == 0 || a.As4()[0] >= 224:
		return a, fail(k.Line, "'target' is %s, must be the address of one host behind the tunnel", xl2tpdconf.Quote(k.Value))
	}
	return a, nil
}

// merge applies the drafts to the defaults, the later over the earlier.
func merge(drafts ...*draft) (Settings, *xl2tpdconf.Error) {
	s := Defaults()
	var interval, timeout *seconds
	for _, d := range drafts {
		if d == nil {
			continue
		}
		if d.keepalive != nil {
			s.Keepalive, s.Observe = *d.keepalive, d.observe
		}
		if d.interval != nil {
			interval = d.interval
		}
		if d.timeout != nil {
			timeout = d.timeout
		}
		if d.failures > 0 {
			s.Failures = d.failures
		}
		if d.target.IsValid() {
			s.Target = d.target
		}
		if d.guard != nil {
			s.Guard = *d.guard
		}
		if d.recover != nil {
			s.Recover = *d.recover
		}
		if d.hook != nil {
			s.Hook = *d.hook
		}
	}
	if interval != nil {
		s.Interval = time.Duration(interval.n) * time.Second
	}
	if timeout != nil {
		s.Timeout = time.Duration(timeout.n) * time.Second
	} else {
		s.Timeout = min(s.Timeout, s.Interval)
	}
	if s.Timeout > s.Interval {
		line, where := timeout.line, message.Text("the default")
		if interval != nil {
			line, where = max(line, interval.line), message.Sprintf("from line %d", interval.line)
			if line == interval.line {
				where = "here"
			}
		}
		return s, fail(line, "'timeout' (%d s, from line %d) is longer than 'interval' (%d s, %s); lower it or raise the interval",
			timeout.n, timeout.line, int(s.Interval/time.Second), where)
	}
	return s, nil
}
