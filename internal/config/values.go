package config

import (
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/typo"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// Limits of the keys, in seconds.
const (
	minInterval, maxInterval = 1, 3600
	minTimeout, maxTimeout   = 1, 60
)

const minFailures, maxFailures = 1, 20

func parseSeconds(k xl2tpdconf.Key, low, high int) (*seconds, *xl2tpdconf.Error) {
	n, err := strconv.ParseUint(k.Value, 10, 31)
	if err != nil || int(n) < low || int(n) > high {
		return nil, fail(k.Line, "'%s' is %s, must be a whole number of seconds from %d to %d%s", k.Name, xl2tpdconf.Quote(k.Value), low, high, hint(k.Value))
	}
	return &seconds{int(n), k.Line}, nil
}

func parseFailures(k xl2tpdconf.Key) (int, *xl2tpdconf.Error) {
	n, err := strconv.ParseUint(k.Value, 10, 31)
	if err != nil || n < minFailures || n > maxFailures {
		return 0, fail(k.Line, "'failures' is %s, must be a whole number from %d to %d%s", xl2tpdconf.Quote(k.Value), minFailures, maxFailures, hint(k.Value))
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

// hint returns what to do about a value that has the quotes or the comments of other files; empty: it has neither.
func hint(value string) message.Text {
	switch {
	case strings.ContainsRune("\"'", rune(value[0])):
		return "; quotes are not allowed"
	case strings.Contains(value, " #"):
		return "; comments start with ';'"
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

func parseGuard(k xl2tpdconf.Key) (*GuardMode, *xl2tpdconf.Error) {
	if v, ok := parseBool(k.Value); ok {
		return new(map[bool]GuardMode{true: GuardOn, false: GuardOff}[v]), nil
	}
	if strings.EqualFold(k.Value, "auto") {
		return new(GuardAuto), nil
	}
	return nil, fail(k.Line, "'hello guard' is %s, must be 'auto', 'on' or 'off'%s", xl2tpdconf.Quote(k.Value), hint(k.Value))
}

// parseRecover reads `recover`. A plain yes is auto: the service never dials a tunnel that, by
// xl2tpd.conf, a person dials.
func parseRecover(k xl2tpdconf.Key) (*RecoverMode, *xl2tpdconf.Error) {
	if v, ok := parseBool(k.Value); ok {
		return new(map[bool]RecoverMode{true: RecoverAuto, false: RecoverOff}[v]), nil
	}
	for r, name := range map[RecoverMode]string{RecoverAuto: "auto", RecoverRedial: "redial", RecoverFull: "full"} {
		if strings.EqualFold(k.Value, name) {
			return &r, nil
		}
	}
	return nil, fail(k.Line, "'recover' is %s, must be 'auto', 'redial', 'full' or 'off'%s", xl2tpdconf.Quote(k.Value), hint(k.Value))
}

func parseHook(k xl2tpdconf.Key) (*string, *xl2tpdconf.Error) {
	path := filepath.Clean(k.Value)
	on, isBool := parseBool(k.Value)
	switch {
	case isBool && !on:
		path = ""
	case !filepath.IsAbs(path):
		return nil, fail(k.Line, "'hook' is %s, must be 'off' or the whole path of an executable%s", xl2tpdconf.Quote(k.Value), hint(k.Value))
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
	return Listen{}, fail(k.Line, "'metrics' is %s, must be 'off', the path of a socket, or ADDRESS:PORT such as 127.0.0.1:9174%s", xl2tpdconf.Quote(k.Value), hint(k.Value))
}

func parseTarget(k xl2tpdconf.Key) (netip.Addr, *xl2tpdconf.Error) {
	a, err := netip.ParseAddr(k.Value)
	switch {
	case err != nil:
		return a, fail(k.Line, "'target' is %s, must be an IPv4 address such as 192.0.2.1%s", xl2tpdconf.Quote(k.Value), hint(k.Value))
	case !a.Is4():
		return a, fail(k.Line, "'target' is %s, must be an IPv4 address: the links carry no IPv6", xl2tpdconf.Quote(k.Value))
	case a.IsUnspecified() || a.IsLoopback() || a.As4()[0] == 0 || a.As4()[0] >= 224:
		return a, fail(k.Line, "'target' is %s, must be the address of one host behind the tunnel", xl2tpdconf.Quote(k.Value))
	}
	return a, nil
}
