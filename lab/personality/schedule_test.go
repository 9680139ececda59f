package main

import (
	"slices"
	"testing"
	"time"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

// The client leaves a deaf router after 91 s. The router then sends a CDN again and again at its own pace, because it ignores
// the client's answers, and a StopCCN.
func TestSchedules(t *testing.T) {
	const second = l2tp.Duration(time.Second)
	for name, change := range map[string]func(b *l2tp.Behaviour){
		"1, 2, 4, 8 s, as an NVR510": func(b *l2tp.Behaviour) {},
		"each second, ten times, a large window": func(b *l2tp.Behaviour) {
			b.RetransmitFirst, b.RetransmitCap, b.RetransmitTries = second, second, 10
			b.ReceiveWindow = 1024
		},
		"3 s up to 8 s, a Hello each 20 s, a window of one": func(b *l2tp.Behaviour) {
			b.RetransmitFirst, b.RetransmitCap, b.RetransmitTries = 3*second, 8*second, 4
			b.KeepaliveInterval, b.KeepaliveTries, b.ReceiveWindow = 20*second, 3, 1
		},
		"half a second up to 4 s, a Hello each 15 s": func(b *l2tp.Behaviour) {
			b.RetransmitFirst, b.RetransmitCap, b.RetransmitTries = second/2, 4*second, 7
			b.KeepaliveInterval, b.KeepaliveTries, b.ReceiveWindow = 15*second, 5, 16
		},
		"a Hello each 20 s that closes the tunnel while a CDN waits": func(b *l2tp.Behaviour) {
			b.KeepaliveInterval, b.KeepaliveTries = 20*second, 3
		},
		"5 s, a Hello each minute that is sent again in the same way": func(b *l2tp.Behaviour) {
			b.RetransmitFirst, b.RetransmitCap, b.RetransmitTries = 5*second, 5*second, 6
			b.KeepaliveInterval, b.KeepaliveTries = 60*second, 0
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := load(t, "../lns/personalities/nvr510.json")
			b.Idle = 0
			change(&b)
			log := converse(t, b, soak)
			p := learn(t, log)
			agree(t, name, b, p)
			similar(t, name, log, converse(t, p.Behaviour, soak))
			if got := p.Behaviour; got.RetransmitCap != b.RetransmitCap || got.RetransmitTries != b.RetransmitTries {
				t.Errorf("pauses up to %v, %d sends", time.Duration(got.RetransmitCap), got.RetransmitTries)
			}
			for _, key := range []string{"keepalive_interval", "receive_window", "retransmit_first"} {
				if !slices.Contains(known(p), key) {
					t.Errorf("%s is not known, and is %v", key, field(p.Behaviour, key))
				}
			}
		})
	}
}
