package doctor

import (
	"errors"
	"io/fs"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/message"
)

// keepaliveConf checks keepalive.conf, and the executables that it names.
func (e *checker) keepaliveConf() []Finding {
	const check = "keepalive.conf"
	switch {
	case errors.Is(e.confErr, fs.ErrNotExist):
		return []Finding{good(check, "", "there is none: the defaults hold")}
	case errors.Is(e.confErr, fs.ErrPermission):
		return nil // not known; the service reports if it can't read the file either
	case e.confErr != nil:
		return []Finding{bad(check, "", message.TextOf(e.confErr), "correct it: until then the settings from before are in use, and after a restart the defaults")}
	}
	var all []Finding
	for _, line := range e.unknownSections() {
		all = append(all, bad(check, "", line, "give the section the name that xl2tpd's file has, or take it out"))
	}
	if all == nil {
		all = append(all, good(check, "", "%s is good", config.DefaultPath))
	}
	if fault := e.conf.MetricsFault(); fault != "" {
		all = append(all, note("metrics", "", fault))
	}
	for _, path := range e.conf.Hooks() {
		if err := e.Hook(path); err != nil {
			all = append(all, bad("hook", "", e.conf.HookFault(path, err))) // which has the remedy
		} else {
			all = append(all, good("hook", "", "%s can be run", path))
		}
	}
	return all
}

// unknownSections returns the sections that match no LAC and no LNS.
func (e *checker) unknownSections() []message.Text {
	if e.conf == nil || e.seenErr != nil {
		return nil
	}
	return e.conf.Unknown(e.seen.Headers)
}
