package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/doctor"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
)

var made = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// planted are files of a host with secrets in all the places where people have them. Each secret begins with TOP.
var planted = map[string]string{
	"/etc/ppp/chap-secrets":           "# client server secret IP\nalice * TOPchap1 *\ndave * TOP\\ chap\\ 3 *\nerin * \"TOPchap4\\\"x\" *\nfrank * @/root/frank.secret *\n\"bob\" office \"TOP chap 2\" 10.0.0.9\n",
	"/etc/ppp/pap-secrets":            "carol\t*\tTOPpap1\n",
	"/etc/xl2tpd/l2tp-secrets":        "* * TOPl2tp1 *\n",
	"/etc/xl2tpd/other-secrets":       "* gw TOPl2tp2\n",
	"/etc/ipsec.secrets":              ": PSK \"TOPpsk1\"\n%any 192.0.2.1 : PSK 0sVE9QcHNrMg==TOPpsk2\nalice : XAUTH \"TOPxauth1\"\n: RSA key.pem \"TOPpassphrase1\"\nh : PSK 'TOPpsk3'\n",
	"/etc/ipsec.d/more.secrets":       "%any : PSK TOPpsk4\ninclude /root/vpn/*.secrets\ninclude deep/one.secrets\n",
	"/root/vpn/a.secrets":             "%any : PSK \"TOPpsk5\"\ninclude a.secrets\n",
	"/etc/ipsec.d/deep/one.secrets":   ": PSK TOPpsk6\n",
	"/root/frank.secret":              "TOPchap5 # since May\nTOPunused\n",
	"/etc/strongswan.d/charon/x.conf": "x {\n secret = TOPswan8\n}\n",
	"/opt/vpn/branch.conf":            "secrets { ike-b { secret = TOPswan6 } }\ninclude branch/*.conf\n",
	"/opt/vpn/branch/c.conf":          "secrets {\n ike-c {\n  secret = \"TOPswan7\"\n }\n}\n",
	"/opt/vpn/office.ppp":             "password TOPppp9\n",
	"/etc/ipsec.d/private/key.pem":    "-----BEGIN PRIVATE KEY-----\nTOPkey1\n-----END PRIVATE KEY-----\n",
	"/etc/swanctl/private/gw.pem":     "-----BEGIN RSA PRIVATE KEY-----\nTOPkey2\n-----END RSA PRIVATE KEY-----\n",
	"/etc/xl2tpd/keepalive.conf":      "[global]\ninterval = 20 ; TOPcomment1\nmystery = TOPvalue1\n",
	"/etc/swanctl/swanctl.conf":       "include conf.d/*.conf\ninclude /opt/vpn/*.conf\nsecrets { ike-a { id = 192.0.2.1\n secret = \"TOPswan1\" } }\n",
	"/etc/swanctl/conf.d/tokyo.conf": "connections {\n tokyo {\n  remote_addrs = 192.0.2.1 # TOPcomment2\n  dpd_delay = 30s\n  proposals = aes128-sha1-modp1024\n" +
		"  local { auth = psk }\n  mystery = TOPvalue2\n  TOPvalue9base64longerthanthirtybytes = 0\n  children { l2tp { mode = transport\n esp_proposals = aes128-sha1\n } }\n }\n}\n" +
		"secrets {\n ike-tokyo {\n  secret = 0sTOPswan2\n }\n eap { id = x\n secret = TOPswan3 }\n private-gw { file = gw.pem\n secret = TOPswan4\n }\n}\n" +
		"pools {\n secretpool {\n x = TOPswan5\n }\n}\n",
	"/etc/strongswan.conf":                                  "include strongswan.d/charon/*.conf\ncharon {\n load_modular = yes\n plugins {\n  eap-radius {\n   secret = TOPradius1\n   server = 10.0.0.5\n  }\n }\n retransmit_tries = 3\n}\n",
	"/etc/ipsec.conf":                                       "# PSK is TOPcomment3\nconfig setup\n\tuniqueids=no\nconn osaka\n\tright=192.0.2.7 # TOPcomment4\n\tauthby=secret\n\tmystery=TOPvalue3\n\tTOPvalue4\n\tTOPvalue7=\n",
	"/etc/ppp/options":                                      "asyncmap 0 # TOPcomment5\nlcp-echo-interval 30\npassword TOPppp1\nfile /opt/vpn/office.ppp\n",
	"/etc/ppp/options.l2tpd":                                "noauth\nmtu 1400 mru 1400\nname alice\npassword \"TOP ppp 2\" noauth\npassword\nTOPppp3\npassword \\\nTOPppp4 nodefaultroute\nconnect 'chat TOPppp5'\nTOPppp6 defaultroute\n",
	"/etc/ppp/peers/provider":                               "user \"TOPppp7\"\npty \"pptp --password TOPppp8\"\n",
	"/run/nm-l2tp-d4a4/xl2tpd.conf":                         "[lac d4a4]\nlns = gw.example.jp\nchallenge = TOPchallenge1\npppoptfile = /run/nm-l2tp-d4a4/ppp-options\n",
	"/run/nm-l2tp-d4a4/ppp-options":                         "user carol\npassword TOPnm1\nmtu 1400\n",
	"/etc/xl2tpd/xl2tpd.conf":                               "; secret is TOPcomment6\n[global]\nauth file = /etc/xl2tpd/other-secrets\nport = 1701\n[lac office] TOPrest1\nlns = gw.example.jp ; TOPcomment7\nchallenge = TOPchallenge2\nredial = yes\npppoptfile = /etc/ppp/options.l2tpd\npassword = TOPvalue5\nTOPvalue8 = yes\n# PSK=TOPcomment8\nTOPvalue6\n",
	"/etc/NetworkManager/system-connections/a.nmconnection": "[vpn-secrets]\npassword=TOPnm2\nipsec-psk=TOPnm3\n",
	"/etc/os-release":                                       "ID=debian\n",
}

// outputs are what programs print, with secrets of the host in them.
var outputs = map[string]string{
	"journalctl": "Nov 23 lab pppd[1]: rcvd [CHAP Challenge id=0x55 <00112233445566778899aabbccddeeff>, name = \"office\"]\n" +
		"Nov 23 lab pppd[1]: sent [PAP AuthReq id=0x1 user=\"alice\" password=\"TOPlog1\"]\n" +
		"Nov 23 lab charon[2]: 00[IKE] preshared key TOPpsk1 did not match\n" +
		"Nov 23 lab charon[2]: 00[IKE]    0: 54 4F 50 6C 6F 67 32 00  TOPlog2.\n" +
		"Nov 23 lab xl2tpd[3]: Connection established to 192.0.2.1, TOPchap1, TOP chap 2, TOPl2tp2, VE9QcHNrMg==TOPpsk2\n" +
		"Nov 23 lab charon[2]: TOPpsk5 TOPpsk6 TOPswan6 TOPswan7 TOPswan8 TOPnm3\n" +
		"Nov 23 lab pppd[1]: TOP chap 3, TOPchap4\"x, TOPchap5, TOPppp9\n" +
		"2026-11-23T10:00:00.000001+0900 lab pppd[1]: CHAP authentication failed: TOP chap 2 is wrong\n",
	"ip":      "ppp0: mtu 1400\n    inet 10.0.0.2 peer 10.0.0.1/32\n enc cbc(aes) 0x544f500102030405060708090a0b0c0d0e0f\n",
	"nft":     "table ip xl2tpd_keepalive {\n}\n",
	"uname":   "Linux 6.1.0 #1 SMP x86_64\n",
	"swanctl": "tokyo: IKEv1\n",
}

// plant returns a Source of a host with those files.
func plant(t *testing.T) Source {
	root := t.TempDir()
	for name, text := range planted {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var instances []xl2tpd.Instance
	for _, path := range []string{"/etc/xl2tpd/xl2tpd.conf", "/run/nm-l2tp-d4a4/xl2tpd.conf"} {
		conf, _ := xl2tpd.ParseConf(path, []byte(strings.NewReplacer("challenge = TOPchallenge2\n", "", "challenge = TOPchallenge1\n", "").Replace(planted[path])))
		instances = append(instances, xl2tpd.Instance{Key: xl2tpd.Key{Path: path}, Conf: conf})
	}
	addr := netip.MustParseAddr
	return Source{
		Root: root, Now: made, Version: "1.0", Hostname: "gate.example.jp", Instances: instances, Names: []string{"tokyo"},
		Status: status.Status{Version: "1.0", Time: made, Tunnels: []status.Tunnel{{
			Name: "lac office", Peer: addr("192.0.2.1"), State: "alive", Since: made.Add(-time.Hour), Vendor: "YAMAHA Corporation",
			Link: &status.Link{Name: "ppp0", Local: addr("10.0.0.2"), Remote: addr("10.0.0.1")},
			SA:   &status.SA{Name: "tokyo"},
			Last: &status.Close{Time: made.Add(-time.Hour), After: status.Seconds(91 * time.Second), Reason: "Hello unanswered (TOPchap1)"},
		}}},
		Findings:   []doctor.Finding{{Check: "DPD", Kind: doctor.Problem, Text: "off for tokyo"}, {Check: "xl2tpd", OK: true, Kind: doctor.Passed, Text: "running"}},
		Recordings: []controltrace.Recording{{Connection: recorded, Records: []controltrace.Record{controlMessage(0), controlMessage(1)}}},
		Run: func(_ context.Context, name string, args ...string) ([]byte, error) {
			out, ok := outputs[name]
			if name == "uname" {
				return []byte(out), errors.New("uname: exit status 1: something is missing")
			}
			if !ok {
				return nil, errors.New(name + ": not found")
			}
			return []byte(out), nil
		},
	}
}

var recorded = l2tp.Connection{
	Local: netip.MustParseAddrPort("10.0.0.2:1701"), Peer: netip.MustParseAddrPort("192.0.2.1:1701"), LocalID: 7, PeerID: 9,
}

// controlMessage is an SCCRP of the router, whose host name is a name of this host's configuration, or a Hello.
func controlMessage(i int) controltrace.Record {
	m := l2tp.Message{Type: l2tp.TypeHello, Tunnel: 9, Ns: 1}
	b := l2tp.AppendMessage(nil, m)
	if i == 0 {
		b = append(b, "\x80\x14\x00\x00\x00\x07gw.example.jp."...)
		b[3] = byte(len(b))
	}
	return controltrace.NewRecord(made, i == 1, m, b)
}

// packets reads the control messages of a bundle.
func (b *Bundle) packets(t *testing.T) (all []l2tp.Packet, comments string) {
	t.Helper()
	r, err := pcapgo.NewNgReader(strings.NewReader(b.file(t, "control.pcapng")), pcapgo.NgReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, _, options, err := r.ReadPacketDataWithOptions()
		if err == io.EOF {
			return all, comments
		}
		if err != nil {
			t.Fatal(err)
		}
		p, err := l2tp.ParsePacket(data)
		if err != nil {
			t.Fatal(err)
		}
		all, comments = append(all, p), comments+strings.Join(options.Comments, " ")
	}
}

// The flight recorder goes along. In an anonymous bundle it has the same other addresses as the texts, and no name.
func TestControlMessages(t *testing.T) {
	s := plant(t)
	b := Collect(t.Context(), s)
	all, comments := b.packets(t)
	if len(all) != 4 || all[0].Src != recorded.Peer || l2tp.ParseAttributes(all[0].Payload()).Host != "gw.example.jp." || !strings.Contains(comments, "lac office") {
		t.Errorf("got %+v, %q, want the four messages, with their addresses and names", all, comments)
	}
	s.AnonymousKey = []byte("a key")
	b = Collect(t.Context(), s)
	all, comments = b.packets(t)
	peer := all[0].Src.Addr().String()
	if len(all) != 4 || peer == "192.0.2.1" || !strings.Contains(b.file(t, "status.json"), `"peer": "`+peer+`"`) || strings.Contains(comments, "office") ||
		l2tp.ParseAttributes(all[0].Payload()).Host != "xxxxxxxxxxxxxx" {
		t.Errorf("got %+v, %q, want the four messages, with the addresses of status.json and without names", all, comments)
	}
	for _, name := range []string{"gw.example", "office"} {
		if strings.Contains(b.file(t, "control.pcapng"), name) {
			t.Errorf("%s is in it", name)
		}
	}
}

// A secret in a control message keeps all of them out.
func TestSecretInControlMessage(t *testing.T) {
	s := plant(t)
	r := controlMessage(0)
	copy(r.Payload[l2tp.HelloLen+6:], "TOPpsk1")
	s.Recordings[0].Records = append(s.Recordings[0].Records, r)
	b := Collect(t.Context(), s)
	if slices.ContainsFunc(b.Files, func(f File) bool { return f.Name == "control.pcapng" }) ||
		!slices.Contains(b.left(), "control.pcapng, in which there is a secret of this host") {
		t.Errorf("got %q, want control.pcapng, because of its secret", b.Left)
	}
}

// all returns the bundle as one text.
func (b *Bundle) all() string {
	var s strings.Builder
	for _, f := range b.Files {
		s.WriteString("== " + f.Name + "\n" + f.Text)
	}
	return s.String() + strings.Join(b.left(), "\n")
}

// left returns what was left out, in English.
func (b *Bundle) left() (all []string) {
	for _, one := range b.Left {
		all = append(all, one.String())
	}
	return all
}

func (b *Bundle) file(t *testing.T, name string) string {
	t.Helper()
	i := slices.IndexFunc(b.Files, func(f File) bool { return f.Name == name })
	if i < 0 {
		t.Fatalf("there is no %s", name)
	}
	return b.Files[i].Text
}

// None of the secrets is in the bundle, wherever it stood.
func TestNoSecrets(t *testing.T) {
	for _, key := range [][]byte{nil, []byte("a key")} {
		t.Setenv("VPN_PASSWORD", "TOPenvironment1")
		s := plant(t)
		s.AnonymousKey = key
		text := Collect(t.Context(), s).all()
		for line := range strings.Lines(text) {
			if strings.Contains(line, "TOP") || strings.Contains(line, "544f50") || strings.Contains(line, "54 4F 50") || strings.Contains(line, "00112233") {
				t.Errorf("a secret: %s", line)
			}
		}
	}
}

// What is of use is in it.
func TestOfUse(t *testing.T) {
	b := Collect(t.Context(), plant(t))
	if text := b.file(t, "README.txt"); strings.Contains(text, "charon/x.conf: included from elsewhere") {
		t.Error("a file of Debian's strongswan.d is left out")
	}
	for name, parts := range map[string][]string{
		"README.txt":                       {"router: 192.0.2.1, YAMAHA Corporation", "  once, 2026-11-23T10:00:00\n    pppd: CHAP authentication failed: ", "lac office: alive since 2026-11-23T11:00:00Z", "ended last at 2026-11-23T11:00:00Z, after 1m31s: Hello unanswered", "✗ DPD: off for tokyo", "  journal.txt\n", "  /etc/ppp/chap-secrets: a file of secrets\n"},
		"version.txt":                      {"1.0\n"},
		"status.json":                      {`"vendor": "YAMAHA Corporation"`},
		"status.txt":                       {"office"},
		"doctor.json":                      {`"check": "DPD"`},
		"doctor.txt":                       {"1 problem, 1 check passed\n"},
		"os-release.txt":                   {"ID=debian"},
		"host.txt":                         {"$ uname -srvm\nLinux 6.1.0 #1 SMP x86_64\n(uname: exit status 1: something is missing)\n"},
		"nftables.txt":                     {"table ip xl2tpd_keepalive"},
		"links.txt":                        {"mtu 1400"},
		"routes.txt":                       {"$ ip rule show"},
		"journal.txt":                      {"Connection established to 192.0.2.1"},
		"ipsec.txt":                        {"tokyo: IKEv1"},
		"config/etc/xl2tpd/xl2tpd.conf":    {"[global]\nauth file = /etc/xl2tpd/other-secrets\nport = 1701\n[lac office]\nlns = gw.example.jp ; (removed)\nchallenge = (removed)\nredial = yes\n", "password = (removed)\n(removed)"},
		"config/etc/xl2tpd/keepalive.conf": {"[global]\ninterval = 20 ; (removed)\n(removed) = (removed)\n"},
		"config/etc/ppp/options.l2tpd":     {"noauth\nmtu 1400 mru 1400\nname alice\npassword (removed)\n"},
		"config/etc/ipsec.conf":            {"# (removed)\nconfig setup\n\tuniqueids=no\nconn osaka\n\tright=192.0.2.7 # (removed)\n\tauthby=secret\n\t(removed)=(removed)\n\t(removed)\n"},
		"config/etc/swanctl/conf.d/tokyo.conf": {"connections {\n  tokyo {\n    remote_addrs = 192.0.2.1\n    # (removed)\n    dpd_delay = 30s\n    proposals = aes128-sha1-modp1024\n    local {\n      auth = psk\n    }\n    (removed) = (removed)\n    (removed) = (removed)\n" +
			"    children {\n      l2tp {\n        mode = transport\n        esp_proposals = aes128-sha1\n      }\n    }\n  }\n}\nsecrets {\n  (removed)\n}\n"},
		"config/etc/strongswan.conf":          {"load_modular = yes", "retransmit_tries = 3", "secret = (removed)"},
		"config/run/nm-l2tp-d4a4/xl2tpd.conf": {"[lac d4a4]"},
		"config/run/nm-l2tp-d4a4/ppp-options": {"mtu 1400"},
	} {
		text := b.file(t, name)
		for _, part := range parts {
			if !strings.Contains(text, part) {
				t.Errorf("%s lacks %q:\n%s", name, part, text)
			}
		}
	}
	for _, want := range []string{"/etc/ipsec.secrets: a file of secrets", "/etc/xl2tpd/other-secrets: a file of secrets",
		"/etc/swanctl/private: private keys, 1 files", "dpkg-query -W xl2tpd"} {
		if !slices.ContainsFunc(b.left(), func(left string) bool { return strings.HasPrefix(left, want) }) {
			t.Errorf("left out lacks %q: %q", want, b.Left)
		}
	}
}

// An anonymous bundle has no name and no address of the host, and the same ones for the same ones.
func TestAnonymous(t *testing.T) {
	s := plant(t)
	s.AnonymousKey = []byte("a key")
	b := Collect(t.Context(), s)
	for _, name := range []string{"office", "tokyo", "osaka", "alice", "carol", "gw.example.jp", "gate", "192.0.2", "10.0.0.2", "d4a4"} {
		for line := range strings.Lines(b.all()) {
			if strings.Contains(line, name) {
				t.Errorf("%s: got %s, want no name", name, line)
			}
		}
	}
	line := func(file, key string) string {
		for line := range strings.Lines(b.file(t, file)) {
			if _, value, ok := strings.Cut(line, key); ok {
				return strings.Trim(strings.TrimSpace(value), `",`)
			}
		}
		return ""
	}
	peer := line("status.json", `"peer": `)
	if _, err := netip.ParseAddr(peer); err != nil || !strings.Contains(b.all(), "remote_addrs = "+peer) {
		t.Errorf("got %q, want the same address everywhere", peer)
	}
	if !strings.Contains(b.file(t, "journal.txt"), "established to "+peer+",") {
		t.Errorf("%s is not in the journal", peer)
	}
}

// Without the service the rest is there.
func TestNoService(t *testing.T) {
	s := plant(t)
	s.Status, s.StatusErr = status.Status{}, errors.New("is not running")
	b := Collect(t.Context(), s)
	if !slices.Contains(b.left(), "status: is not running") || !strings.Contains(b.file(t, "README.txt"), "The service does not say which tunnels there are: is not running") {
		t.Errorf("got %q, want the status among them", b.Left)
	}
}

func TestSave(t *testing.T) {
	b := &Bundle{Name: "report", Files: []File{{Name: "a.txt", Text: "one\n"}, {Name: "config/b"}}}
	path := filepath.Join(t.TempDir(), "r.tar.gz")
	if err := b.Save(path, made); err != nil {
		t.Fatal(err)
	}
	if err := b.Save(path, made); !errors.Is(err, os.ErrExist) {
		t.Errorf("another file is overwritten: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v, want a file for its owner alone", info.Mode(), err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	zipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewReader(zipped)
	for _, want := range b.Files {
		head, err := archive.Next()
		if err != nil || head.Name != "report/"+want.Name || head.Mode != 0o600 {
			t.Fatalf("got %+v, %v, want the next file, for its owner alone", head, err)
		}
		if text, err := io.ReadAll(archive); err != nil || string(text) != want.Text {
			t.Errorf("the archive has %q, %v, want %q", text, err, want.Text)
		}
	}
	if _, err := archive.Next(); err != io.EOF {
		t.Error(err)
	}
}
