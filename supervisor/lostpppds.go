package supervisor

import (
	"fmt"
	"log/slog"
	"strings"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
)

const faultLost = "pppd"

// takePPPDsWithoutLink notes the pids of pppds whose links can't be found: those links are left alone.
func (h *health) takePPPDsWithoutLink(pids []int) {
	was, text := h.faults[faultLost].Text, message.Text("")
	if len(pids) > 0 {
		list := strings.Trim(fmt.Sprint(pids), "[]")
		text = message.Sprintf("the pid file of xl2tpd's pppd can't be seen (pid %s), so its link is left alone; "+
			"run xl2tpd-keepalive in the container that has this xl2tpd", list)
	}
	if text != "" && text != was {
		h.out.log(slog.LevelWarn, text.String())
	}
	h.fault(faultLost, text != "", status.Problem{Code: status.CodeContainer, Text: text})
}
