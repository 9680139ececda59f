package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"time"
)

const secrets = "secrets { ike { secret = \"lab\" } }\n"

// connection is one end's side of an L2TP/IPsec connection as routers want it. The ports of its traffic selectors
// are "udp/1701", or "udp" where a port is not known before. Only the end that calls renews the SAs: when two charons
// begin at the same moment, IKEv1 can leave them with different ones (seen in the eighth hour of 36 tunnels). With trap
// it is data that has an SA initiated.
func connection(name, remote, localPort, remotePort string, calls, trap bool) string {
	ike, child := "", ""
	if !calls {
		ike, child = "rekey_time = 0s\n    reauth_time = 0s", "rekey_time = 0s"
	}
	if trap {
		child += "start_action = trap"
	}
	return fmt.Sprintf(`connections {
  %[1]s {
    version = 1
    remote_addrs = %[2]s
    proposals = aes128-sha1-modp2048
    %[5]s
    local { auth = psk }
    remote { auth = psk }
    children {
      %[1]s {
        mode = transport
        local_ts = dynamic[%[3]s]
        remote_ts = dynamic[%[4]s]
        esp_proposals = aes128-sha1
        %[6]s
      }
    }
  }
}
`, name, remote, localPort, remotePort, ike, child)
}

func (p *peer) startCharon() error {
	if err := p.run("charon.log", "charon-systemd"); err != nil {
		return err
	}
	var answer []byte
	err := poll(20*time.Second, func() (ok bool) {
		var err error
		answer, err = p.exec("swanctl", "--load-all", "--noprompt").CombinedOutput()
		return err == nil
	})
	if err != nil {
		return fmt.Errorf("peer %s: charon: %w: %s%s", p.name, err, answer, p.log("charon.log"))
	}
	return nil
}

// secure has the caller's charon initiate what it does not have yet: in IKEv1 another Quick Mode would leave the old
// CHILD SA beside the new one for an hour.
func (p *peer) secure() error {
	child, swanctl := p.name, func(args ...string) *exec.Cmd { return exec.Command("swanctl", args...) }
	if p.calls() {
		child, swanctl = "l2tp", func(args ...string) *exec.Cmd { return p.exec(append([]string{"swanctl"}, args...)...) }
	}
	// Connections are named as their children; --child alone lists the other connections too.
	is, err := swanctl("--list-sas", "--ike", child).Output()
	if err != nil {
		return fmt.Errorf("swanctl --list-sas: %w", err)
	}
	if bytes.Contains(is, []byte("INSTALLED")) {
		return nil
	}
	initiate := swanctl("--initiate", "--child", child, "--timeout", "20")
	if text, err := initiate.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", initiate.Args, err, text)
	}
	return nil
}
