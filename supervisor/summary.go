package supervisor

import (
	"fmt"
	"strings"
)

// Summary is the state of everything in one line, such as
// "3 tunnels up, 1 silent; xl2tpd not running".
func (core *Core) Summary() string {
	var s strings.Builder
	switch n := core.tunnels.count[Up] + core.tunnels.count[Alive]; n {
	case 0:
		s.WriteString("no tunnel up")
	case 1:
		s.WriteString("1 tunnel up")
	default:
		fmt.Fprintf(&s, "%d tunnels up", n)
	}
	for _, of := range []struct {
		state State
		text  string
	}{{Silent, "silent"}, {Off, "left alone"}, {Down, "down"}} {
		if n := core.tunnels.count[of.state]; n > 0 {
			fmt.Fprintf(&s, ", %d %s", n, of.text)
		}
	}
	for _, p := range core.health.problems() {
		s.WriteString("; " + p.Text.String())
	}
	return s.String()
}
