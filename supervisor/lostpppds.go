package supervisor

import (
	"fmt"
	"log/slog"
	"strings"
)

const faultLost = "pppd"

// takeLost notes the pids of pppds whose links can't be found: those links are left alone.
func (h *health) takeLost(pids []int) {
	was, text := h.faults[faultLost], ""
	if len(pids) > 0 {
		list := strings.Trim(fmt.Sprint(pids), "[]")
		text = "the pid file of xl2tpd's pppd can't be seen (pid " + list + "), so its link is left alone; " +
			"run xl2tpd-keepalive in the container that has this xl2tpd"
	}
	if text != "" && text != was {
		h.out.log(slog.LevelWarn, text)
	}
	h.fault(faultLost, text != "", text)
}
