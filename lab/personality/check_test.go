package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/lab/lns/l2tp"
	"xl2tpd-keepalive/lab/personality/infer"
)

// A personality explains the capture that it was made from, and a later one of the same router, but not another router's.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	b := load(t, "../lns/personalities/nvr510.json")
	var made strings.Builder
	if err := run([]string{"-together", file("recipe.pcapng", pcapng(t, recipe(t, b)))}, &made, io.Discard); err != nil {
		t.Fatal(err)
	}
	copied := file("copy.json", []byte(made.String()))
	for name, same := range map[string]bool{"nvr510": true, "plain": false} {
		log := converse(t, load(t, "../lns/personalities/"+name+".json"), soak)
		var said strings.Builder
		err := run([]string{"-check", copied, file(name+".pcapng", pcapng(t, log))}, &said, io.Discard)
		if (err == nil) != same || strings.Contains(said.String(), " 0 differences") != same {
			t.Errorf("%s: %v\n%s", name, err, said.String())
		}
	}
	for _, personality := range []string{file("wrong.json", []byte(`{"hello": "loud"}`)), filepath.Join(dir, "none.json")} {
		if err := run([]string{"-check", personality, filepath.Join(dir, "plain.pcapng")}, io.Discard, io.Discard); err == nil {
			t.Errorf("%s is a personality", personality)
		}
	}
}

// What differs before a time can be left out.
func TestCheckFrom(t *testing.T) {
	b := load(t, "../lns/personalities/plain.json")
	log := converse(t, b, soak)
	b.AckDelay = l2tp.Duration(time.Second / 10)
	if all, late := checkFrom(t, b, log, 0), checkFrom(t, b, log, time.Second); len(late) >= len(all) || len(late) == 0 {
		t.Errorf("%q, later %q", all, late)
	}
}

// check compares a capture with what a router of a personality would have sent.
func check(t tester, b l2tp.Behaviour, log []captured) []string {
	t.Helper()
	return checkFrom(t, b, log, 0)
}

func checkFrom(t tester, b l2tp.Behaviour, log []captured, from time.Duration) []string {
	t.Helper()
	differences, packets, err := infer.Check(b, connections(t, log)[0], from)
	if err != nil || packets == 0 {
		t.Fatalf("%d packets, %v", packets, err)
	}
	return differences
}

// A router that does not behave as a personality says is found out by a soak, as far as a soak shows the key. An NVR510's
// shows what becomes of an unanswered message.
func TestCheckFindsAnother(t *testing.T) {
	const second = l2tp.Duration(time.Second)
	for key, change := range map[string]func(b *l2tp.Behaviour){
		"host_name":      func(b *l2tp.Behaviour) { b.HostName = "other" },
		"vendor":         func(b *l2tp.Behaviour) { b.Vendor = "other" },
		"receive_window": func(b *l2tp.Behaviour) { b.ReceiveWindow++ },
		"hello": func(b *l2tp.Behaviour) {
			b.Hello = map[bool]l2tp.HelloMode{true: l2tp.HelloAck, false: l2tp.HelloDeaf}[b.Hello == l2tp.HelloDeaf]
		},
		"keepalive_interval":   func(b *l2tp.Behaviour) { b.KeepaliveInterval += 5 * second },
		"a shorter idle timer": func(b *l2tp.Behaviour) { b.Idle = 7 * second },
		"zlb_ns_offset_all":    func(b *l2tp.Behaviour) { b.ZLBNsOffset, b.ZLBNsOffsetAll = b.ZLBNsOffset+1, true },
		"zlb":                  func(b *l2tp.Behaviour) { b.ZLB = l2tp.ZLBNever },
		"ack_delay":            func(b *l2tp.Behaviour) { b.AckDelay += second / 20 },
	} {
		for _, file := range builtIn {
			b := load(t, file)
			log := converse(t, b, soak)
			if differences := check(t, b, log); len(differences) > 0 {
				t.Errorf("%s: its own soak has %q", file, differences)
			}
			if change(&b); len(check(t, b, log)) == 0 {
				t.Errorf("%s: another %s makes no difference", file, key)
			}
		}
	}
	for key, change := range map[string]func(b *l2tp.Behaviour){
		"retransmit_first": func(b *l2tp.Behaviour) { b.RetransmitFirst, b.RetransmitCap = 3*second, 16*second },
		"retransmit_tries": func(b *l2tp.Behaviour) { b.RetransmitTries-- },
		"keepalive_tries":  func(b *l2tp.Behaviour) { b.KeepaliveTries++ },
	} {
		b := load(t, "../lns/personalities/nvr510.json")
		log := converse(t, b, soak)
		if change(&b); len(check(t, b, log)) == 0 {
			t.Errorf("nvr510: another %s makes no difference", key)
		}
	}
}
