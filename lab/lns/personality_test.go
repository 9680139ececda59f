package main

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

func TestEveryPersonalityLoads(t *testing.T) {
	files, err := fs.Glob(personalities, "personalities/*.json")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d personalities, %v", len(files), err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(path.Base(f), ".json")
		b, err := load(name, nil)
		if err != nil {
			t.Error(err)
		}
		if b.HostName != name || b.About == "" {
			t.Errorf("%s: host_name %q, about %q", name, b.HostName, b.About)
		}
		if !strings.Contains(names(), name) {
			t.Errorf("%s is not in the list %q", name, names())
		}
	}
}

func TestRouters(t *testing.T) {
	for name, tries := range map[string]int{"nvr510": 6, "nvr500": 3} {
		b, err := load(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b.Hello != l2tp.HelloDeaf || !b.StrictNs || b.MaxClients != 4 ||
			time.Duration(b.Idle) != time.Minute ||
			time.Duration(b.KeepaliveInterval) != 10*time.Second || b.KeepaliveTries != tries {
			t.Errorf("%s: %+v", name, b)
		}
	}
}

func TestSettings(t *testing.T) {
	b, err := load("nvr510", []string{"hello=ack", "keepalive_interval=off", "idle=90s", "max_clients=1", "strict_ns=false", "zlb_ns_offset=-1", "about=a test"})
	if err != nil {
		t.Fatal(err)
	}
	if b.Hello != l2tp.HelloAck || b.KeepaliveInterval != 0 || time.Duration(b.Idle) != 90*time.Second ||
		b.MaxClients != 1 || b.StrictNs || b.ZLBNsOffset != -1 || b.About != "a test" || b.HostName != "nvr510" {
		t.Errorf("%+v", b)
	}
}

func TestWrongSettings(t *testing.T) {
	for setting, want := range map[string]string{
		"hello":              "want key=value",
		"hello=loud":         `hello: "loud"`,
		"helo=ack":           `unknown field "helo"`,
		"idle=soon":          "soon",
		"idle=-1":            "want 0 (off) or more",
		"keepalive_tries=-1": "keepalive_tries",
		"max_clients=many":   "max_clients",
		"zlb_ns_offset=1e9":  "zlb_ns_offset",
		"=1":                 `unknown field ""`,
		"retransmit_cap=1ms": "retransmit_cap",
	} {
		if _, err := load("nvr510", []string{setting}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", setting, err, want)
		}
	}
	if _, err := load("nvr9000", nil); err == nil || !strings.Contains(err.Error(), "nvr510") {
		t.Errorf("unknown personality: %v, want the known ones named", err)
	}
}

func TestPersonalityFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "office.json")
	if err := os.WriteFile(name, []byte("{\n// seen\n\"hello\": \"deaf\"}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := load(name, nil); err != nil || b.Hello != l2tp.HelloDeaf {
		t.Errorf("%+v, %v", b, err)
	}
	if _, err := load("none.json", nil); err == nil {
		t.Error("read a file that is not there")
	}
}
