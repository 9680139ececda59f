package doctor

import (
	"errors"
	"io/fs"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/message"
)

// keepaliveConf checks keepalive.conf, and the executables that it names.
func (c *checker) keepaliveConf() []Finding {
	const check = "keepalive.conf"
	switch {
	case errors.Is(c.confErr, fs.ErrNotExist):
		return []Finding{good(check, "", "there is none: the defaults hold")}
	case errors.Is(c.confErr, fs.ErrPermission):
		return nil // not known; the service reports if it can't read the file either
	case c.confErr != nil:
		return []Finding{bad(check, "", message.TextOf(c.confErr), "correct it: until then the settings from before are in use, and after a restart the defaults")}
	}
	var all []Finding
	for _, line := range c.unknownSections() {
		all = append(all, bad(check, "", line, "give the section the name that xl2tpd's file has, or take it out"))
	}
	if all == nil {
		all = append(all, good(check, "", "%s is good", config.DefaultPath))
	}
	if fault := c.conf.MetricsFault(); fault != "" {
		all = append(all, note("metrics", "", fault))
	}
	for _, path := range c.conf.Hooks() {
		if err := c.Hook(path); err != nil {
			all = append(all, bad("hook", "", c.conf.HookFault(path, err))) // which has the remedy
		} else {
			all = append(all, good("hook", "", "%s can be run", path))
		}
	}
	return all
}

// unknownSections returns the sections that match no LAC and no LNS.
func (c *checker) unknownSections() []message.Text {
	if c.conf == nil || c.seenErr != nil {
		return nil
	}
	return c.conf.Unknown(c.seen.Headers)
}
