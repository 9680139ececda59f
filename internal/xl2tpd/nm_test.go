package xl2tpd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"xl2tpd-keepalive/internal/systembus"

	"github.com/godbus/dbus/v5"
)

// bus makes a system bus of the test's own. It answers a call of METHOD(FIRST ARGUMENT) with
// what replies has for that, and any other with an error.
func bus(t *testing.T, replies map[string]any) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+path)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serveBus(c, replies)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
}

// serveBus lets anyone in and answers calls until the other end hangs up.
func serveBus(c net.Conn, replies map[string]any) {
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch line = strings.TrimLeft(strings.TrimSpace(line), "\x00"); {
		case strings.HasPrefix(line, "AUTH EXTERNAL"):
			c.Write([]byte("OK 0123456789abcdef0123456789abcdef\r\n"))
			continue
		case line == "AUTH":
			c.Write([]byte("REJECTED EXTERNAL\r\n"))
			continue
		case line != "BEGIN":
			c.Write([]byte("ERROR\r\n"))
			continue
		}
		break
	}
	for {
		call, err := dbus.DecodeMessage(r)
		if err != nil {
			return
		}
		what, _ := call.Headers[dbus.FieldMember].Value().(string)
		if len(call.Body) > 0 {
			what += "(" + call.Body[0].(string) + ")"
		}
		answer, ok := replies[what]
		if what == "Hello" {
			answer, ok = ":1.7", true
		}
		reply := &dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{dbus.FieldReplySerial: dbus.MakeVariant(call.Serial())}}
		if !ok {
			reply.Type = dbus.TypeError
			reply.Headers[dbus.FieldErrorName] = dbus.MakeVariant("org.example.Unknown")
			answer = "no such thing"
		}
		reply.Body = []any{answer}
		reply.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(answer))
		if reply.EncodeTo(c, binary.LittleEndian) != nil {
			return
		}
	}
}

func TestConnectionName(t *testing.T) {
	path := dbus.ObjectPath(nmSettings + "/7")
	settings := func(name any) map[string]map[string]dbus.Variant {
		return map[string]map[string]dbus.Variant{"connection": {"id": dbus.MakeVariant(name)}}
	}
	for _, tt := range []struct {
		name     string
		uuid     string
		settings any
		want     string
	}{
		{"named", "4f-1", settings("Office Süd"), "Office Süd"},
		{"unknown", "4f-2", settings("Office"), ""},
		{"without a name", "4f-1", map[string]map[string]dbus.Variant{}, ""},
		{"a number for a name", "4f-1", settings(7), ""},
		{"an odd answer", "4f-1", "x", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bus(t, map[string]any{"GetConnectionByUuid(4f-1)": path, "GetSettings": tt.settings})
			name, err := ConnectionName(t.Context(), tt.uuid)
			if name != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("%q, %v, want %q", name, err, tt.want)
			}
		})
	}
}

func TestUnitWorkingDir(t *testing.T) {
	for _, tt := range []struct{ name, unit, says, want string }{
		{"set", "a.service", "/srv/l2tp", "/srv/l2tp"},
		{"not set", "a.service", "", "/"},
		{"may be missing", "a.service", "!/srv", "/srv"},
		{"home", "a.service", "~", ""},
		{"unknown unit", "b.service", "/srv", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bus(t, map[string]any{
				"GetUnit(a.service)":                    dbus.ObjectPath(systembus.SystemdPath + "/unit/a"),
				"Get(org.freedesktop.systemd1.Service)": dbus.MakeVariant(tt.says),
			})
			dir, err := unitWorkingDir(t.Context(), tt.unit)
			if dir != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("%q, %v, want %q", dir, err, tt.want)
			}
		})
	}
}

// A bus that says nothing holds up nobody for longer than the limit.
func TestMuteBus(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "bus"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+l.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := ConnectionName(ctx, "4f-1"); err == nil {
		t.Error("got no error from a NetworkManager that does not answer")
	}
	if _, err := unitWorkingDir(t.Context(), "a.service"); err == nil {
		t.Error("got no error from a systemd that does not answer")
	}
	if took := time.Since(begin); took > busTimeout+time.Second {
		t.Errorf("took %v", took)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
	if _, err := ConnectionName(t.Context(), "4f-1"); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no bus: %v", err)
	}
}

func TestConnectionOf(t *testing.T) {
	for path, want := range map[string]string{
		"/run/nm-l2tp-4f-1/xl2tpd.conf":     "4f-1",
		"/run/nm-l2tp-xl2tpd-4f-1.conf":     "4f-1",
		"/run/nm-l2tp.conf":                 "",
		"/run/nm-l2tp-x":                    "",
		"/run/office/xl2tpd.conf":           "",
		"/etc/run/nm-l2tp-4f-1/xl2tpd.conf": "",
		"/run/xl2tpd/nm-l2tp-4f-1/x":        "",
		"nm-l2tp-4f-1/xl2tpd.conf":          "",
	} {
		if got := connectionOf(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
