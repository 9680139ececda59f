package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/strongswan/govici/vici"
)

const secrets = "secrets { ike { secret = \"lab\" } }\n"

// connection is one end's side of an L2TP/IPsec connection as routers want it. The ports of its traffic selectors
// are "udp/1701", or "udp" where a port is not known before. Only the end that calls renews the SAs: when two charons
// begin at the same moment, IKEv1 can leave them with different ones (seen in the eighth hour of 36 tunnels). With trap
// it is data that has an SA initiated.
func connection(name, remote, localPort, remotePort string, calls, trap bool) section {
	child := section{
		"mode":          "transport",
		"local_ts":      []string{"dynamic[" + localPort + "]"},
		"remote_ts":     []string{"dynamic[" + remotePort + "]"},
		"esp_proposals": []string{"aes128-sha1"},
	}
	ike := section{
		"version":      "1",
		"remote_addrs": []string{remote},
		"proposals":    []string{"aes128-sha1-modp2048"},
		"local":        section{"auth": "psk"},
		"remote":       section{"auth": "psk"},
		"children":     section{name: child},
	}
	if !calls {
		ike["rekey_time"], ike["reauth_time"], child["rekey_time"] = "0s", "0s", "0s"
	}
	if trap {
		child["start_action"] = "trap"
	}
	return section{name: ike}
}

// shortExponents makes charon work less than half as long for an SA: they are as long as the cipher's strength needs.
const shortExponents = "dh_exponent_ansi_x9_42 = no"

// charonConf has a peer's charon load what it needs and no more: the peer stands for a router, and most of the time
// until charon is ready goes into plugins.
const charonConf = "charon-systemd {\n " + shortExponents + "\n" +
	" load = random nonce aes sha1 hmac kdf %s kernel-netlink socket-default vici\n}\n"

// modp is the plugin for the key exchange. The other one takes longer to load, but not each Debian has the first.
func modp() string {
	if found, _ := filepath.Glob("/usr/lib/ipsec/plugins/libstrongswan-gmp.so"); found != nil {
		return "gmp"
	}
	return "openssl"
}

func (p *peer) startCharon() error {
	conf := filepath.Join(p.dir, "strongswan.conf")
	if err := write(conf, fmt.Sprintf(charonConf, modp())); err != nil {
		return err
	}
	if err := p.run("charon.log", "env", "STRONGSWAN_CONF="+conf, "charon-systemd"); err != nil {
		return err
	}
	var err error
	if poll(20*time.Second, func() bool { err = p.loadConnection(); return err == nil }) != nil {
		return fmt.Errorf("peer %s: charon: %w: %s", p.name, err, p.log("charon.log"))
	}
	return nil
}

// loadConnection gives the peer's charon its connection and its secret.
func (p *peer) loadConnection() error {
	return p.vici(func(s *vici.Session) error {
		return errors.Join(call(s, "load-conn", p.connection), call(s, "load-shared", section{"type": "ike", "data": "lab"}))
	})
}

// vici speaks with the peer's charon.
func (p *peer) vici(f func(*vici.Session) error) error {
	return withCharon(p.space.root()+charonSocket, f)
}

const charonSocket = "/run/charon.vici"

func withCharon(path string, f func(*vici.Session) error) error {
	s, err := vici.NewSession(vici.WithAddr("unix", path))
	if err != nil {
		return err
	}
	defer s.Close()
	return f(s)
}

func call(s *vici.Session, command string, in section) error {
	m, err := in.message()
	if err != nil {
		return err
	}
	_, err = s.Call(context.Background(), command, m)
	return err
}

// secure makes the caller's charon initiate the SAs that it does not have yet: in IKEv1 another Quick Mode would leave
// the old CHILD SA beside the new one for an hour.
func (p *peer) secure() error {
	if p.calls() {
		return p.vici(func(s *vici.Session) error { return initiateOnce(s, "l2tp") })
	}
	return withCharon(charonSocket, func(s *vici.Session) error { return initiateOnce(s, p.name) })
}

// initiateOnce makes charon initiate the connection's SAs if there are none. Connections are named as their children.
func initiateOnce(s *vici.Session, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	defer cancel()
	list, err := section{"ike": name}.message()
	if err != nil {
		return err
	}
	installed := false
	for m, err := range s.CallStreaming(ctx, "list-sas", "list-sa", list) {
		if err != nil {
			return fmt.Errorf("list-sas: %w", err)
		}
		installed = installed || strings.Contains(m.String(), "INSTALLED")
	}
	if installed {
		return nil
	}
	begin, err := section{"child": name, "timeout": "20000"}.message()
	if err != nil {
		return err
	}
	for _, err := range s.CallStreaming(ctx, "initiate", "control-log", begin) {
		if err != nil {
			return fmt.Errorf("initiate %s: %w", name, err)
		}
	}
	return nil
}
