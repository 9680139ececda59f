package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xl2tpd-keepalive/internal/bundle"
	"xl2tpd-keepalive/internal/message"
)

func TestListReport(t *testing.T) {
	b := &bundle.Bundle{Files: []bundle.File{{Name: "version.txt", Text: "1.0\n"}, {Name: "config/\x1b", Text: ""}}, Left: []message.Text{"/etc/ppp/chap-secrets: a file of secrets"}}
	const want = "r.tar.gz has:\n  version.txt, 4 bytes\n  config/?, 0 bytes\nLeft out:\n  /etc/ppp/chap-secrets: a file of secrets\n"
	for anonymous, hint := range map[bool]string{true: "", false: "Names and addresses are in it; with --anonymise others stand in their place.\n"} {
		var out bytes.Buffer
		options{anonymise: anonymous}.listReport(&out, b, "r.tar.gz")
		if out.String() != want+hint+"Look at it before you send it.\n" {
			t.Errorf("anonymous: %v; got %s", anonymous, &out)
		}
	}
}

// On this host, whatever it is, there is a report. It does not overwrite another file.
func TestReport(t *testing.T) {
	if os.Geteuid() != 0 {
		var out, errs bytes.Buffer
		if code := run([]string{"report"}, &out, &errs); code != exitError || !strings.Contains(errs.String(), "needs root") {
			t.Errorf("status %d: %s", code, &errs)
		}
		return
	}
	path := filepath.Join(t.TempDir(), "r.tar.gz")
	var out, errs bytes.Buffer
	if code := run([]string{"report", "--anonymise", path}, &out, &errs); code != exitOK {
		t.Fatalf("status %d: %s", code, &errs)
	}
	for _, want := range []string{"  README.txt, ", "  doctor.json, ", "Left out:\n", "Look at it before you send it.\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q:\n%s", want, &out)
		}
	}
	for _, tc := range []struct{ path, want string }{
		{path, "there is a file " + path + " already; name another one"},
		{path + ".d/r.tar.gz", path + ".d/r.tar.gz can't be written: there is no directory " + path + ".d"},
	} {
		errs.Reset()
		if code := run([]string{"report", tc.path}, &out, &errs); code != exitError || errs.String() != "xl2tpd-keepalive: "+tc.want+"\n" {
			t.Errorf("status %d: %s", code, &errs)
		}
	}
}

func TestListReportInJapanese(t *testing.T) {
	b := &bundle.Bundle{
		Files: []bundle.File{{Name: "version.txt", Text: "1.0\n"}},
		Left:  []message.Text{message.Sprintf("%s: a file of secrets", "/etc/ppp/chap-secrets")},
	}
	const want = "r.tar.gz に含めたもの:\n  version.txt、4 バイト\n含めなかったもの:\n" +
		"  /etc/ppp/chap-secrets: 秘密を保存するファイル\n送る前に中身を確かめてください。\n"
	var out bytes.Buffer
	options{anonymise: true, lang: message.Japanese()}.listReport(&out, b, "r.tar.gz")
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
}
