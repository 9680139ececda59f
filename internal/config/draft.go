package config

import (
	"cmp"
	"net/netip"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// draft is one section with only the keys that it sets.
type draft struct {
	id, title   string
	line        int
	keepalive   *bool
	observe     bool // if keepalive is set
	interval    *seconds
	timeout     *seconds
	failures    int // 0: not set
	target      netip.Addr
	guard       *GuardMode
	recover     *RecoverMode
	hook        *string
	hookLine    int
	metrics     Listen
	metricsLine int
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
			return fail(k.Line, "'keepalive' is %s, must be 'yes', 'observe' or 'no'%s", xl2tpdconf.Quote(k.Value), hint(k.Value))
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
		d.hookLine = k.Line
		d.hook, err = parseHook(k)
	case "metrics":
		if kind != "global" {
			return fail(k.Line, "'metrics' belongs in [global], not in [%s]", d.title)
		}
		d.metricsLine = k.Line
		d.metrics, err = parseListen(k)
	default:
		return unknownKey(k)
	}
	return err
}

// applyTo sets what the draft sets, but for the times, which depend on each other.
func (d *draft) applyTo(s *Settings) {
	if d.keepalive != nil {
		s.Keepalive, s.Observe = *d.keepalive, d.observe
	}
	if d.target.IsValid() {
		s.Target = d.target
	}
	s.Failures = cmp.Or(d.failures, s.Failures)
	s.Guard = *cmp.Or(d.guard, &s.Guard)
	s.Recover = *cmp.Or(d.recover, &s.Recover)
	s.Hook = *cmp.Or(d.hook, &s.Hook)
}

// merge applies the drafts to the defaults, the later over the earlier.
func merge(drafts ...*draft) (Settings, *xl2tpdconf.Error) {
	s := Defaults()
	var interval, timeout *seconds
	for _, d := range drafts {
		if d != nil {
			d.applyTo(&s)
			interval, timeout = cmp.Or(d.interval, interval), cmp.Or(d.timeout, timeout)
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
