package measure

import (
	"os"
	"strconv"
	"strings"
)

// Memory is what is resident of a process, in KB, and the same with each shared page counted by its share (proc(5),
// smaps_rollup). It is an error when the process has ended.
func Memory(pid string) (rss, pss int, err error) {
	text, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
	for line := range strings.Lines(string(text)) {
		switch f := strings.Fields(line); f[0] {
		case "Rss:":
			rss, _ = strconv.Atoi(f[1])
		case "Pss:":
			pss, _ = strconv.Atoi(f[1])
		}
	}
	return rss, pss, err
}
