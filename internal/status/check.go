package status

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/message"
)

// Level is the exit status of a Nagios plugin, see https://www.monitoring-plugins.org/doc/guidelines.html.
type Level int

// The levels of the guidelines.
const (
	LevelOK       Level = iota
	LevelWarning        // something does not work, but the tunnels do; or a tunnel is only observed
	LevelCritical       // a tunnel does not work, or the service does not
	LevelUnknown        // the state is not known: no permission to ask, or no such tunnel
)

func (l Level) String() string {
	return [...]string{LevelOK: "OK", LevelWarning: "WARNING", LevelCritical: "CRITICAL", LevelUnknown: "UNKNOWN"}[l]
}

// mostNamed is how many tunnels one line names.
const mostNamed = 5

// Check returns the level of a status, or of the failure to read one, and one line with figures. By the guidelines the
// level is CRITICAL if the service does not run. It is UNKNOWN without permission, or for an unknown tunnel. Each tunnel
// in names has to be up, even if it is dialled by hand.
func Check(r Status, err error, names []string, lang *message.Language) (Level, string) {
	level := LevelCritical
	if errors.Is(err, fs.ErrPermission) {
		level = LevelUnknown
	}
	if err == nil {
		level = LevelUnknown
		r.Tunnels, err = Named(r.Tunnels, names)
	}
	if err != nil {
		return level, checkLine(level, lang.Error(err))
	}
	return checkTunnels(r, len(names) > 0, lang)
}

// checkTunnels returns the level of a status, and one line. named: the user has named these tunnels.
func checkTunnels(r Status, named bool, lang *message.Language) (Level, string) {
	c := check{named: named, libreswan: r.Libreswan}
	for i := range r.Tunnels {
		c.tunnel(&r.Tunnels[i])
	}
	level, text := c.verdict(r.Problems)
	return level, checkLine(level, lang.Text(text), c.figures(r)...)
}

// checkLine formats a plugin's line. It replaces bars in the text: a bar begins the figures.
func checkLine(level Level, text string, figures ...string) string {
	line := fmt.Sprintf("XL2TPD-KEEPALIVE %v - %s", level, strings.ReplaceAll(Printable(text), "|", "/"))
	if len(figures) > 0 {
		line += " | " + strings.Join(figures, " ")
	}
	return line
}

// check counts tunnels.
type check struct {
	named                             bool
	up, silent, down, byHand, ignored int
	observed                          int            // of those that are up
	wrong                             []message.Text // the tunnels that do not work, and why
	libreswan                         bool
}

func (c *check) tunnel(t *Tunnel) {
	if t.Observe && t.Link != nil {
		c.observed++
	}
	switch {
	case t.State == "alive", t.State == "up": // up is alive or silent within seconds
		c.up++
	case t.State == "silent":
		c.silent++
		c.fault(t)
	case t.State == "off":
		c.ignored++
	case t.ByHand && !c.named:
		c.byHand++
	default:
		c.down++
		c.fault(t)
	}
}

func (c *check) fault(t *Tunnel) {
	text := message.Sprintf("%s %s", title(t), t.StateText())
	if t.State == "down" && t.Last != nil {
		text = message.Sprintf("%s: %s", text, t.Last.Reason)
	}
	c.wrong = append(c.wrong, text)
}

// title returns a tunnel's name, or that of its link.
func title(t *Tunnel) string {
	name := t.Name
	if name == "" && t.Link != nil {
		name = t.Link.Name
	}
	return t.qualified(name)
}

func (c *check) verdict(problems []Problem) (Level, message.Text) {
	parts := list(c.wrong)
	if c.up > 0 || len(parts) == 0 && c.ignored == 0 {
		parts = append(parts, message.Sprintf("%s up", tunnels(c.up)))
	}
	if c.byHand > 0 {
		parts = append(parts, message.Sprintf("%d to be dialled by hand", c.byHand))
	}
	if c.ignored > 0 {
		parts = append(parts, message.Sprintf("%d with keepalive = no", c.ignored))
	}
	if c.observed > 0 {
		parts = append(parts, message.Sprintf("%d with keepalive = observe: nothing is asked, held or recovered", c.observed))
	}
	if c.libreswan {
		parts = append(parts, libreswan)
	}
	parts = append(parts, list(problemTexts(problems))...)
	text := message.Join(parts, "%s; %s")
	switch {
	case c.wrong != nil:
		return LevelCritical, text
	case c.named && c.ignored > 0:
		return LevelUnknown, text
	case len(problems) > 0, c.observed > 0: // nobody asks the far end of an observed tunnel, so it would be up for ever
		return LevelWarning, text
	}
	return LevelOK, text
}

// list returns all names, or the first ones and how many more there are.
func list(all []message.Text) []message.Text {
	if more := len(all) - mostNamed; more > 0 {
		return append(slices.Clone(all[:mostNamed]), message.Sprintf("%d more", more))
	}
	return slices.Clone(all)
}

// figures returns the figures of all tunnels, and of each named one, in the form
// label=value;warn;crit;min;max. max is the number of tunnels.
func (c *check) figures(r Status) []string {
	n := len(r.Tunnels)
	all := []string{
		fmt.Sprintf("up=%d;;;0;%d", c.up, n),
		fmt.Sprintf("silent=%d;;0;0;%d", c.silent, n),
		fmt.Sprintf("down=%d;;0;0;%d", c.down, n),
		fmt.Sprintf("problems=%d;0;;0", len(r.Problems)),
	}
	if !c.named {
		return all
	}
	for i := range r.Tunnels {
		all = append(all, echoFigures(&r.Tunnels[i])...)
	}
	return all
}

// echoFigures returns the mean round trip of the latest echo requests, and the share that was lost.
func echoFigures(t *Tunnel) []string {
	if t.Link == nil || len(t.Link.Echoes.Recent) == 0 {
		return nil
	}
	var sum time.Duration
	recent := t.Link.Echoes.Recent
	got := 0
	for _, trip := range recent {
		if trip != nil {
			sum += time.Duration(*trip)
			got++
		}
	}
	var all []string
	if got > 0 {
		all = append(all, fmt.Sprintf("%s=%.6fs;;;0", label(t, "rtt"), (sum/time.Duration(got)).Seconds()))
	}
	return append(all, fmt.Sprintf("%s=%.1f%%;;;0;100", label(t, "loss"), 100*float64(len(recent)-got)/float64(len(recent))))
}

// label returns a label without quotes and equals signs, which the guidelines forbid.
func label(t *Tunnel, what string) string {
	return "'" + strings.NewReplacer("'", "_", "=", "_", "|", "_").Replace(Printable(title(t))) + " " + what + "'"
}
