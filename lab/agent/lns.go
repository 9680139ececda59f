package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// configureLNS writes what charon reads, and xl2tpd and its pppd where the peer is a Debian one.
func (p *peer) configureLNS() error {
	p.connection = connection("l2tp", "%any", p.selector(), "udp", false, false)
	options, require := "noauth\n", "require authentication = no\n"
	if p.secret != "" {
		options, require = "auth\nrequire-mschap-v2\n", "require authentication = yes\nrefuse pap = yes\n"
	}
	if err := write(filepath.Join(p.dir, "ppp-options"), options+"noccp\nlcp-echo-interval 0\nlcp-echo-failure 0\nipcp-accept-remote\n"); err != nil {
		return err
	}
	return write(filepath.Join(p.dir, "xl2tpd/xl2tpd.conf"), p.global()+fmt.Sprintf("[lns default]\nip range = %s\nlocal ip = %v\n"+
		"%spppoptfile = %s/ppp-options\n", p.pool(), p.ppp, require, p.dir))
}

// pool is what the LNS gives to clients: more than one address, as it may hold a lost client's for a while.
func (p *peer) pool() string {
	first, last := p.ppp.As4(), p.ppp.As4()
	first[3]++
	last[3] += 8
	return netip.AddrFrom4(first).String() + "-" + netip.AddrFrom4(last).String()
}

func (p *peer) startLNS() error {
	if p.personality == "debian" {
		return p.run(xl2tpdLog, "xl2tpd", "-D")
	}
	args := []string{disk + "/bin/lns", "-peer", p.name, "-personality", p.personality,
		"-local", p.ppp.String(), "-pool", p.pool()}
	if p.count > 0 {
		args = append(args, "-count", fmt.Sprint(p.count), "-listen", p.reach.String()+":1701", "-pool", firstClient.String())
	}
	for _, s := range p.settings {
		args = append(args, "-set", s)
	}
	command := p.exec(args...)
	pipe, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(p.dir, "lns.log"))
	if err != nil {
		return err
	}
	command.Stderr = log
	if err := command.Start(); err != nil {
		return err
	}
	p.procs = append(p.procs, command.Cmd)
	listening := make(chan struct{})
	go func() {
		defer log.Close()
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			log.WriteString(lines.Text() + "\n")
			var e struct {
				Time    time.Time `json:"t"`
				Event   string    `json:"event"`
				Reason  string    `json:"reason"`
				Message string    `json:"message"`
				Try     int       `json:"try"`
				Ns      uint16    `json:"ns"`
				Next    uint16    `json:"expected"`
				Waited  float64   `json:"waited_ms"`
			}
			if json.Unmarshal(lines.Bytes(), &e) != nil {
				continue
			}
			if e.Event == "listening" {
				close(listening)
			}
			p.client.history.add(record{
				at: e.Time, kind: "lns", tunnel: p.name, reason: cmp.Or(e.Reason, e.Message), text: e.Event,
				try: e.Try, ns: e.Ns, due: e.Next, waited: time.Duration(e.Waited * float64(time.Millisecond)),
			})
		}
	}()
	select {
	case <-listening:
		return nil
	case <-time.After(10 * time.Second):
		return fmt.Errorf("peer %s: the LNS does not listen: %s", p.name, p.log("lns.log"))
	}
}
