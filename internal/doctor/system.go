package doctor

import (
	"slices"
	"strings"

	"xl2tpd-keepalive/internal/message"
)

// distribution is what the host runs, by how it differs from Debian's packages.
type distribution int

const (
	debian distribution = iota // or an unknown distribution
	ubuntu
	raspberryPi
)

// system reads os-release(5). The 64-bit Raspberry Pi OS calls itself Debian there.
func (h *Host) system() distribution {
	is := map[string]string{}
	for line := range strings.Lines(h.read("/etc/os-release")) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		is[k] = strings.Trim(v, `"'`)
	}
	family := append(strings.Fields(is["ID_LIKE"]), is["ID"])
	switch {
	case is["ID"] == "raspbian", h.exists("/etc/rpi-issue"):
		return raspberryPi
	case slices.Contains(family, "ubuntu"):
		return ubuntu
	}
	return debian
}

// kernels are the ends of the names of Debian's kernel packages, by GOARCH. Some are Debian's own names for an
// architecture, some name a kind of processor.
var kernels = map[string]string{
	"amd64": "amd64", "386": "686", "arm64": "arm64", "arm": "armmp", "riscv64": "riscv64", "ppc64le": "powerpc64le", "s390x": "s390x",
}

// reboot is the same in each language.
var reboot = command("reboot")

// getModules says how to get kernel modules that the running kernel does not have.
func (h *Host) getModules(missing []string) []message.Text {
	if !h.exists("/lib/modules/" + h.Kernel()) {
		return []message.Text{
			message.Sprintf("reboot  # there is no /lib/modules/%s, as after an upgrade of the kernel", h.Kernel()),
			message.Sprintf("in a container: on its host, modprobe -a %s", strings.Join(missing, " ")),
		}
	}
	switch h.system() {
	case ubuntu:
		return []message.Text{command("apt install linux-modules-extra-" + h.Kernel())}
	case raspberryPi:
		return []message.Text{"apt full-upgrade  # the kernel of Raspberry Pi OS has them, others may not", reboot}
	}
	name, known := kernels[h.Arch]
	if !known {
		return []message.Text{"boot a kernel of Debian's that has them; those called `cloud` do not"}
	}
	install := command("apt install linux-image-" + name)
	if !strings.Contains(h.Kernel(), "-cloud-") {
		return []message.Text{install, reboot}
	}
	return []message.Text{
		install,
		// GRUB puts versions in the order of sort -rV: a cloud kernel comes before the other of its version.
		message.Sprintf("apt purge linux-image-cloud-%s linux-image-%s  # else GRUB boots the cloud kernel again", name, h.Kernel()),
		reboot,
	}
}
