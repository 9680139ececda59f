package terminal

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

// The picture is XML, has every word in its place and colour, and no escape.
func TestSVG(t *testing.T) {
	var b bytes.Buffer
	if err := SVG(&b, "$ status\r\n\x1b[1mlac <a>\x1b[0m  \x1b[32m● alive\x1b[0m 5s\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, want := range []string{
		`<title id="title">status</title>`,
		"<desc id=\"desc\">$ status\nlac &lt;a&gt;  ● alive 5s\n",
		`font-weight="bold" xml:space="preserve">$ status<`,
		`x="14.0" y="46" fill="#e6edf3" font-weight="bold" xml:space="preserve">lac &lt;a&gt;<`,
		`x="84.2" y="46" fill="#56d364" xml:space="preserve">● alive<`,
		`fill="#e6edf3" xml:space="preserve"> 5s<`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.ContainsRune(got, 0x1b) || strings.Count(got, "<text") != 4 {
		t.Error(got)
	}
	for d := xml.NewDecoder(&b); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
