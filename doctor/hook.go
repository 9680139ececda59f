package doctor

import (
	"xl2tpd-keepalive/config"
	"xl2tpd-keepalive/hook"
)

// hooks looks at the executables that keepalive.conf names. A file that is wrong
// as a whole is the service's problem already.
func (e *exam) hooks() []Finding {
	c, err := config.Load(e.path(config.DefaultPath))
	if err != nil {
		return nil
	}
	var all []Finding
	for _, path := range c.Hooks() {
		if err := hook.Check(e.path(path)); err != nil {
			all = append(all, bad("hook", "", "will not be run: "+err.Error())) // which has the remedy
		} else {
			all = append(all, good("hook", "", "%s can be run", path))
		}
	}
	return all
}
