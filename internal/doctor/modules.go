package doctor

import (
	"slices"
	"strings"

	"xl2tpd-keepalive/internal/message"
)

// modules are the kernel modules that the tunnels need, and what for.
var modules = []struct {
	name string
	use  message.Text
}{
	{"ppp_generic", "PPP"},
	{"l2tp_ppp", "L2TP in the kernel (without it data goes through xl2tpd)"},
	{"esp4", "IPsec"},
	{"nft_queue", "the Hello guard"},
	{"nfnetlink_queue", "the Hello guard"},
}

func (c *checker) modules() []Finding {
	const check = "kernel modules"
	missing, uses := c.missingModules()
	if missing != nil && c.modulesUnknown() {
		return []Finding{unknown(check, "", message.Sprintf("not loaded: %s; only the host of this container knows whether it has them", strings.Join(missing, ", ")),
			message.Sprintf("on the host: modprobe -a %s", strings.Join(missing, " ")))}
	}
	if missing != nil {
		return []Finding{bad(check, "", message.Sprintf("there is no %s", message.Join(uses, "%s, no %s")), c.getModules(missing)...)}
	}
	return []Finding{good(check, "", "PPP, L2TP, ESP and nft_queue are there")}
}

// missingModules returns the modules that this kernel has not loaded and can't load, and each with its use.
func (c *checker) missingModules() (missing []string, uses []message.Text) {
	dir := "/lib/modules/" + c.Kernel()
	loaded := c.read("/proc/modules")
	available := c.read(dir+"/modules.builtin") + c.read(dir+"/modules.dep")
	for _, m := range modules {
		switch {
		case c.exists("/sys/module/" + m.name), strings.Contains("\n"+loaded, "\n"+m.name+" "):
		case strings.Contains(available, "/"+m.name+".ko"):
		default:
			missing = append(missing, m.name)
			uses = append(uses, message.Sprintf("%s for %s", m.name, m.use))
		}
	}
	return missing, uses
}

// modulesUnknown reports whether this is a container: its host may load modules when they are asked for.
func (c *checker) modulesUnknown() bool { return !c.booted() && !c.exists("/lib/modules/"+c.Kernel()) }

// misses reports whether one of these modules is neither loaded nor there to be loaded, as far as that is known.
func (c *checker) misses(names ...string) bool {
	missing, _ := c.missingModules()
	return !c.modulesUnknown() && slices.ContainsFunc(missing, func(m string) bool { return slices.Contains(names, m) })
}
