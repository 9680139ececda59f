package doctor

import (
	"bytes"
	"fmt"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// unknownKeys finds keys with which xl2tpd does not start. A running xl2tpd has read its file before they came in.
func (e *checker) unknownKeys(n int, i xl2tpd.Instance) []Finding {
	const check = "xl2tpd.conf"
	if i.Conf == nil || i.NetworkManager() || !i.Runs() && (!i.Needed() || e.others(n)) {
		return nil
	}
	var all []Finding
	for _, k := range i.Conf.Unknown {
		name := xl2tpdconf.Quote(k.Name)
		switch has, known := e.hasKey(i, k.Name); {
		case has:
		case known:
			all = append(all, bad(check, e.names[n],
				message.Sprintf("%s:%d: xl2tpd knows no %s, and does not start with it", i.Conf.Path, k.Line, name), "correct that line, or take it out"))
		default:
			all = append(all, note(check, e.names[n],
				message.Sprintf("%s:%d: xl2tpd knows no %s up to 1.3.20, and does not start with it; a later one may", i.Conf.Path, k.Line, name)))
		}
	}
	return all
}

// hasKey reports whether an xl2tpd's executable has a key. The names of its keys are C strings in it (file.c, words).
func (e *checker) hasKey(i xl2tpd.Instance, key string) (has, known bool) {
	name := "/usr/sbin/xl2tpd"
	if i.Runs() {
		name = fmt.Sprintf("/proc/%d/exe", i.Process.Pid)
	}
	content := e.executableOf(name)
	return bytes.Contains(bytes.ToLower(content), []byte("\x00"+key+"\x00")), content != nil
}
