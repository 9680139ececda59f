package xl2tpd

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// Measures one look with a LAC and a session for each tunnel. The Watcher looks every
// 5 s, and whenever a link comes or goes.
func BenchmarkLook(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 4000} {
		b.Run(fmt.Sprint("tunnels=", n), func(b *testing.B) {
			dir := b.TempDir()
			var sections, sessions strings.Builder
			for i := range n {
				fmt.Fprintf(&sections, "[lac branch%d]\nlns = 10.1.%d.%d\npppoptfile = /etc/ppp/options.l2tpd\nredial = yes\n", i, i>>8, i&255)
				fmt.Fprintf(&sessions, "  SESSION 'sess %d/1' C0000264/1701 %04X/0001 -> %04X/0001 4 Y\n   0/0/-/-/LAC 00000000 0\n   5/5 9/350/0 9/330/0\n   interface ppp%d\n", i, i+1, i+1, i)
			}
			for name, text := range map[string]string{
				"xl2tpd.conf": sections.String(), "self/net/pppol2tp": sessions.String(),
			} {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					b.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					b.Fatal(err)
				}
			}
			sys := theSystem()
			sys.procs.root = dir
			sys.peers = func() (map[uint16]netip.AddrPort, error) { return nil, nil }
			l := (&Watcher{ConfPath: filepath.Join(dir, "xl2tpd.conf"), Log: slog.New(slog.DiscardHandler), sys: sys}).newLoop()
			last := l.look(b.Context(), func(...string) {})
			b.ReportAllocs()
			for b.Loop() {
				if s := l.look(b.Context(), func(...string) {}); len(s.Sessions) != n || !reflect.DeepEqual(s, last) {
					b.Fatal("another")
				}
			}
		})
	}
}

// Measures one search for xl2tpds on this host. The Watcher searches once a minute, and on hints.
func BenchmarkSearch(b *testing.B) {
	p := theProcs()
	for b.Loop() {
		p.local()
	}
}
