package doctor

import (
	"fmt"
	"io"
	"os"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// saref finds an `ipsec saref` line, common in recipes, that keeps xl2tpd from using the kernel's L2TP.
func (c *checker) saref(n int, i xl2tpd.Instance) []Finding {
	conf := i.Conf
	if conf == nil {
		return nil
	}
	v := c.version(i)
	if !conf.SarefForces(v) {
		return nil
	}
	which := message.Text("up to 1.3.18")
	if v.Known() {
		which = message.Data(v.Text)
	}
	format := message.Format("%s:%d: `ipsec saref` forces userspace mode with xl2tpd %s: all data goes through xl2tpd")
	if !conf.ForceUserspace {
		format = "%s:%d: `ipsec saref` forces userspace mode with xl2tpd %s, whatever its value: all data goes through xl2tpd"
	}
	return []Finding{bad("userspace mode", c.names[n], message.Sprintf(format, conf.Path, conf.SarefLine, which),
		"take that line out: SAref needs a kernel that is patched for it",
		whenIdle(c.restart(i)))}
}

const maxExecutable = 16 << 20 // bytes of an executable to read

// version returns the version of the running process, even if another has been installed since. Only
// root may read it.
func (c *checker) version(i xl2tpd.Instance) xl2tpd.Version {
	return xl2tpd.FindVersion(c.executableOf(fmt.Sprintf("/proc/%d/exe", i.Process.Pid)))
}

// executableOf returns the content of an executable; nil: it can't be read.
func (c *checker) executableOf(name string) []byte {
	f, err := os.Open(c.path(name))
	if err != nil {
		return nil
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxExecutable))
	if err != nil {
		return nil
	}
	return content
}
