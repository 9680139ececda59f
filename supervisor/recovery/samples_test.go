package recovery

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xl2tpd-keepalive/supervisor"
	"xl2tpd-keepalive/vici"
)

// Which connection of charon's is for the LNS 192.0.2.1, with each of vici's samples of swanctl.conf
// and ipsec.conf.
func TestConnectionOfSamples(t *testing.T) {
	paths, err := filepath.Glob("../../vici/testdata/conf/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatal("no samples:", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s := struct {
				Host, For   string
				Connections []vici.Connection
			}{Host: "192.0.2.1"}
			if err := json.Unmarshal(b, &s); err != nil {
				t.Fatal(err)
			}
			got := ""
			if ike, child, ok := connection(s.Connections, supervisor.Recover{LNS: netip.MustParseAddr("192.0.2.1"), Host: s.Host}); ok {
				got = ike + "/" + child
			}
			if got != s.For {
				t.Errorf("for this LNS is %q, want %q", got, s.For)
			}
		})
	}
}
