//go:build lab

package l2tp

import (
	"encoding/binary"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const testPort = "17011"

// startXl2tpd starts a real xl2tpd as LNS, on a port of its own.
func startXl2tpd(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "xl2tpd.conf")
	text := "[global]\nport = " + testPort + "\n[lns default]\nip range = 10.99.0.2-10.99.0.200\nlocal ip = 10.99.0.1\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("xl2tpd", "-D", "-c", conf, "-C", filepath.Join(dir, "control"), "-p", filepath.Join(dir, "pid"), "-s", os.DevNull)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

// connection is a control connection with xl2tpd that is established.
type connection struct {
	net.Conn
	tunnel uint16 // xl2tpd's id
}

// latestNr reads what xl2tpd sends until it is silent, and returns the last Nr.
func (c connection) latestNr() (nr uint16) {
	b := make([]byte, 1500)
	for {
		c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		n, err := c.Read(b)
		if err != nil {
			return nr
		}
		if m, err := ParseMessage(b[:n]); err == nil {
			nr = m.Nr
		}
	}
}

// connect sets a tunnel up, with this id of the peer.
func connect(t *testing.T, id uint16) connection {
	t.Helper()
	conn, err := net.Dial("udp4", "127.0.0.1:"+testPort)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	request := AppendMessage(nil, Message{Type: TypeSCCRQ})
	for _, avp := range [][]byte{{2, 1, 0}, {3, 0, 0, 0, 3}, {7, 'p'}, {9, byte(id >> 8), byte(id)}} {
		request = binary.BigEndian.AppendUint16(request, avpMandatory|uint16(5+len(avp)))
		request = append(request, 0, 0, 0)
		request = append(request, avp...)
	}
	binary.BigEndian.PutUint16(request[2:], uint16(len(request)))
	b := make([]byte, 1500)
	for range 20 { // xl2tpd may still be starting
		conn.Write(request)
		conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		n, err := conn.Read(b)
		if err != nil {
			time.Sleep(200 * time.Millisecond)
			continue
		}
		tunnel, ok := AssignedTunnel(b[:n])
		if !ok {
			t.Fatalf("got %x, want an SCCRP", b[:n])
		}
		c := connection{conn, tunnel}
		conn.Write(AppendMessage(nil, Message{Type: TypeSCCCN, Tunnel: tunnel, Ns: 1, Nr: 1}))
		if nr := c.latestNr(); nr != 2 {
			t.Fatalf("got Nr %d behind SCCCN, want 2", nr)
		}
		return c
	}
	t.Fatal("xl2tpd does not answer")
	return connection{}
}

// xl2tpd counts exactly what ParseMessage takes.
func TestCountsLikeXl2tpd(t *testing.T) {
	startXl2tpd(t)
	id := uint16(100)
	for name, edit := range map[string]func(b []byte) []byte{
		"plain":            func(b []byte) []byte { return b },
		"offset":           func(b []byte) []byte { b[0] |= 0x02; return b },
		"priority":         func(b []byte) []byte { b[0] |= 0x01; return b },
		"reserved bits":    func(b []byte) []byte { b[0] |= 0x30; b[1] |= 0xf0; return b },
		"version 0":        func(b []byte) []byte { b[1] = 0; return b },
		"version 1":        func(b []byte) []byte { b[1] = 1; return b },
		"version 3":        func(b []byte) []byte { b[1] = 3; return b },
		"version 10":       func(b []byte) []byte { b[1] = 10; return b },
		"no length":        func(b []byte) []byte { b[0] &^= 0x40; return b },
		"no sequence":      func(b []byte) []byte { b[0] &^= 0x08; return b },
		"neither":          func(b []byte) []byte { b[0] &^= 0x48; return b },
		"data":             func(b []byte) []byte { b[0] &^= 0x80; return b },
		"padding":          func(b []byte) []byte { return append(b, 0, 0, 0) },
		"length too large": func(b []byte) []byte { b[3] += 2; return b },
		"length too small": func(b []byte) []byte { b[3] -= 2; return b },
		"no AVP type":      func(b []byte) []byte { b[17] = 200; return b },
		"AVP too long":     func(b []byte) []byte { b[13] = 200; return b },
		"unknown message":  func(b []byte) []byte { b[19] = 99; return b },
	} {
		id++
		c := connect(t, id)
		b := edit(AppendMessage(nil, Message{Type: TypeHello, Tunnel: c.tunnel, Ns: 2, Nr: 1}))
		_, err := ParseMessage(b)
		c.Write(b)
		time.Sleep(50 * time.Millisecond)
		c.latestNr()
		// A duplicate is answered with what xl2tpd expects.
		c.Write(AppendMessage(nil, Message{Type: TypeHello, Tunnel: c.tunnel, Ns: 1, Nr: 1}))
		nr := c.latestNr()
		if counts := nr == 3; counts != (err == nil) || nr != 2 && nr != 3 {
			t.Errorf("%s: xl2tpd expects %d, and ParseMessage says %v", name, nr, err)
		}
	}
}
