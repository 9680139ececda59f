package bundle

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// endWords are what xl2tpd, pppd, strongSwan and this program log when a tunnel ends or does not come up. journalctl
// searches for it too, as one word of a command.
const endWords = `Maximum.retries.exceeded|closed.to.|Denied.connection|` +
	`authentication.failed|terminated.by.peer|No.response.to.\d+.echo|timeout.sending.Config|Modem.hangup|` +
	`giving.up.after|AUTH\w*_FAILED|NO_PROPOSAL_CHOSEN|INVALID_ID|decryption.failed|could.not.decrypt|received.DELETE.for.IKE_SA|` +
	`tunnel.down.|tunnel.silent.`

var telling = regexp.MustCompile(endWords)

// record is a line of journalctl's format short-iso-precise: a time, a host, a program with its pid, and a text. From
// systemd 255 on, the offset of the time has a colon.
var record = regexp.MustCompile(`^(\d\S+[+-]\d\d:?\d\d) \S+ ([^\s\[]+)(?:\[\d+\])?: (.*)$`)

// number is a word that differs from one end to the next: an id, a pid or a serial number. An address is none.
var number = regexp.MustCompile(`(^|[\s(\[])\d+([\s,:;)\]]|\.\s|$)`)

// end is something that was logged once or more, but for numbers.
type end struct {
	text        string
	first, last string
	count       int
}

const (
	endsFile  = "ends.txt"
	maxEnds   = 20
	toSeconds = len("2006-01-02T15:04:05")
)

// ends returns what a journal has about the ends of tunnels, the oldest first, and when the journal begins. If there are
// more than maxEnds, those with the latest occurrences stay: what still goes on may have begun long ago.
func ends(journal string) (all []end, begins string) {
	seen := map[string]int{} // where all has a text
	for line := range strings.Lines(journal) {
		m := record.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			continue
		}
		at := m[1][:min(toSeconds, len(m[1]))]
		if begins == "" {
			begins = at
		}
		if !telling.MatchString(m[3]) {
			continue
		}
		text := m[2] + ": " + number.ReplaceAllString(m[3], "${1}N$2")
		i, again := seen[text]
		if !again {
			i = len(all)
			seen[text], all = i, append(all, end{text: text, first: at})
		}
		all[i].last, all[i].count = at, all[i].count+1
	}
	return latest(all), begins
}

// latest returns those that came last, in the same order.
func latest(all []end) (some []end) {
	indexes := make([]int, len(all))
	for i := range indexes {
		indexes[i] = i
	}
	slices.SortStableFunc(indexes, func(x, y int) int { return strings.Compare(all[x].last, all[y].last) })
	indexes = indexes[max(0, len(all)-maxEnds):]
	slices.Sort(indexes)
	for _, i := range indexes {
		some = append(some, all[i])
	}
	return some
}

// endsText says how tunnels ended, how often, and since when.
func endsText(journal string) string {
	all, begins := ends(journal)
	if begins == "" {
		return "\nNothing in the journal says how a tunnel ended.\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nHow tunnels ended or did not come up, of %s, which begins at %s:\n", endsFile, begins)
	for _, e := range all {
		when := "once, " + e.last
		if e.count > 1 {
			when = fmt.Sprintf("%d times, %s to %s", e.count, e.first, e.last)
		}
		fmt.Fprintf(&b, "  %s\n    %s\n", when, e.text)
	}
	return b.String()
}
