package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// xl2tpdLog is where a peer's real xl2tpd writes, in the peer's directory.
const xl2tpdLog = "xl2tpd.log"

// callerLAC is what a caller's xl2tpd.conf calls the client host.
const callerLAC = "host"

// configureLAC writes what a caller's charon, xl2tpd and pppd read. It asks for its own address inside the tunnel, by
// which it is known. `debug tunnel` makes xl2tpd say what comes out of order.
func (p *peer) configureLAC() error {
	p.connection = connection("l2tp", p.host.String(), p.selector(), "udp/1701", true, false)
	options := filepath.Join(p.dir, "ppp-options")
	for name, text := range map[string]string{
		filepath.Join(p.dir, "xl2tpd/xl2tpd.conf"): p.global() + fmt.Sprintf("debug tunnel = yes\n[lac %s]\nlns = %v\npppoptfile = %s\n",
			callerLAC, p.host, options),
		options: quiet + p.ppp.String() + ":\n",
	} {
		if err := write(name, text); err != nil {
			return err
		}
	}
	return nil
}

func (p *peer) startLAC() error {
	if err := p.run(xl2tpdLog, "xl2tpd", "-D"); err != nil {
		return err
	}
	if err := poll(10*time.Second, func() bool { return isPipe(p.controlPipe()) }); err != nil {
		return fmt.Errorf("peer %s: xl2tpd: %w: %s", p.name, err, p.log(xl2tpdLog))
	}
	return nil
}

// controlPipe is a caller's xl2tpd's, as seen from outside its namespaces.
func (p *peer) controlPipe() string {
	return p.space.root() + controlPipe
}

func isPipe(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&os.ModeNamedPipe != 0
}

// lacSection is the client host's section for this peer.
func (p *peer) lacSection(set settings, where string) string {
	lines := []string{"[lac " + p.lac + "]", "lns = " + where, "pppoptfile = " + set.dialOptions(p)}
	lines = slices.Concat(lines, set.section, set.lac)
	if p.own.IsValid() {
		lines = append(lines, "local ip = "+p.own.String())
	}
	return strings.Join(lines, "\n") + "\n"
}

// lnsSection is the client host's section for this caller.
func (p *peer) lnsSection() string {
	last, own := p.ppp.As4(), p.ppp.As4()
	last[3] += 8 // one address more than lost calls may hold for a while
	own[3] += 9
	return fmt.Sprintf("[lns %s]\nlac = %v\nip range = %v-%v\nlocal ip = %v\nrequire authentication = no\npppoptfile = %s\n",
		p.name, p.reach, p.ppp, netip.AddrFrom4(last), netip.AddrFrom4(own), answerOptions)
}
