package xl2tpdconf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	long := strings.Repeat("x", 1100)
	for _, tt := range []struct {
		name, in string
		want     []Section
	}{
		{"empty", "", nil},
		{"only comments", ";\n; [global]\n\t; port = 1\n;;; x\n", nil},
		{"comment after a tab", "[global]\t\t\t\t; Global parameters:\nport = 1701\t\t\t; * Bind to port 1701\n", []Section{
			{Kind: "global", Line: 1, Keys: []Key{{"port", "1701", 2}}}}},
		{"comment inside a value", "[lac a]\nname = me;you\n", []Section{
			{Kind: "lac", Name: "a", Line: 1, Keys: []Key{{"name", "me", 2}}}}},
		{"# is text", "[lac a]\nname = a#b # c\n", []Section{
			{Kind: "lac", Name: "a", Line: 1, Keys: []Key{{"name", "a#b # c", 2}}}}},
		{"case", "[GLOBAL]\n[Lac Office]\nReDial  \t TimeOut=15\n[LNS DEFAULT]\n", []Section{
			{Kind: "global", Line: 1}, {Kind: "lac", Name: "Office", Line: 2, Keys: []Key{{"redial  \t timeout", "15", 3}}},
			{Kind: "lns", Name: "default", Line: 4}}},
		{"repeated keys and sections stay in order", "[lac a]\nlns = x\nlns=y\n[lac a]\nlns = x", []Section{
			{Kind: "lac", Name: "a", Line: 1, Keys: []Key{{"lns", "x", 2}, {"lns", "y", 3}}},
			{Kind: "lac", Name: "a", Line: 4, Keys: []Key{{"lns", "x", 5}}}}},
		{"value with = and without text", "[lac a]\nx = a = b\ny =\nz=", []Section{
			{Kind: "lac", Name: "a", Line: 1, Keys: []Key{{"x", "a = b", 2}, {"y", "", 3}, {"z", "", 4}}}}},
		{"names", "[lac]\n[lac two words]\n[lac  x]\n[lns a[b]\n", []Section{
			{Kind: "lac", Line: 1}, {Kind: "lac", Name: "two words", Line: 2}, {Kind: "lac", Name: " x", Line: 3},
			{Kind: "lns", Name: "a[b", Line: 4}}},
		{"ignored parts of headers", "[global x] y\n[lac a] b ] c\n", []Section{
			{Kind: "global", Rest: "x y", Line: 1}, {Kind: "lac", Name: "a", Rest: "b ] c", Line: 2}}},
		{"byte order mark, CRLF and other white space", "\xef\xbb\xbf[global]\r\n\vport\f=\x01 1 \x02\r\n\r\n", []Section{
			{Kind: "global", Line: 1, Keys: []Key{{"port", "1", 2}}}}},
		{"long comment is one comment", "[lac a]\nx = 1 ;" + long + "\ny = 2\n;" + long + long + "\nz = 3", []Section{
			{Kind: "lac", Name: "a", Line: 1, Keys: []Key{{"x", "1", 2}, {"y", "2", 3}, {"z", "3", 5}}}}},
		{"a long line is cut, the rest is a line of its own", "[lac a]\nx = " + long[:1019] + "y = 2\nz = 3", []Section{
			{Kind: "lac", Name: "a", Line: 1, Keys: []Key{{"x", long[:1019], 2}, {"y", "2", 2}, {"z", "3", 3}}}}},
		{"a line as long as can be", "[lac a]\nx = " + long[:1019] + "\ny = 2", []Section{
			{Kind: "lac", Name: "a", Line: 1, Keys: []Key{{"x", long[:1019], 2}, {"y", "2", 3}}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := Parse("f", strings.NewReader(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(&File{tt.want}, f); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"\nport = 1\n", `f:2: "port = 1" appears before the first section; start with [global], [lac NAME] or [lns NAME]`},
		{"[global\n", `f:1: "[global": closing ']' is missing`},
		{"[global ; ]\n", `f:1: "[global": closing ']' is missing`},
		{"; c\n[pptp x]\n", `f:2: unknown section "[pptp x]"; expected [global], [lac NAME] or [lns NAME]`},
		{"[ lac x]", `f:1: unknown section "[ lac x]"; expected [global], [lac NAME] or [lns NAME]`},
		{"[lac\tx]", `f:1: unknown section "[lac\tx]"; expected [global], [lac NAME] or [lns NAME]`},
		{"[lac x]\n\nredial yes\n", `f:3: "redial yes": expected 'name = value'`},
		{"[lac x]\n= yes\n", `f:2: the name before '=' is missing; expected 'name = value'`},
		{"# c\n", `f:1: comments start with ';', not with '#'`},
		{"[lac x]\n  #redial = yes\n", `f:2: comments start with ';', not with '#'`},
		{"[lac x]\na = b\x00\n", `f:2: NUL byte: this is not a text file`},
		{"[lac x]\n" + strings.Repeat("y", 1024), `f:2: line longer than 1023 bytes, xl2tpd's limit`},
		{"[lac x]\ny = " + strings.Repeat("y", 2000), `f:2: "` + strings.Repeat("y", 57) + `...": expected 'name = value'`},
		{"[lac x]\n" + strings.Repeat("\n", 1<<20), `f:1: the file is larger than 1 MiB`},
	} {
		_, err := Parse("f", strings.NewReader(tt.in))
		if err == nil || err.Error() != tt.want {
			t.Errorf("%.40q: got %v\nwant %s", tt.in, err, tt.want)
		}
	}
	_, err := Parse("f", io.MultiReader(strings.NewReader("[global]\n;"), iotest.ErrReader(errors.New("broken disk"))))
	if err == nil || err.Error() != "f:2: reading failed: broken disk" {
		t.Error(err)
	}
}

func TestSameNameAndBool(t *testing.T) {
	if !SameName("Büro", "BüRO") || SameName("BÜRO", "büro") || SameName(" a", "a") {
		t.Error("names compare by ASCII case and nothing else")
	}
	for in, want := range map[string][2]bool{
		"yes": {true, true}, "Y": {true, true}, "TRUE": {true, true}, "No": {false, true}, "n": {false, true},
		"false": {false, true}, "1": {}, "on": {}, "": {}, "yes ": {},
	} {
		if v, ok := Bool(in); v != want[0] || ok != want[1] {
			t.Errorf("Bool(%q) is %v %v, want %v", in, v, ok, want)
		}
	}
}

// Whatever is written with any white space, case and comments comes back.
func TestFormatParse(t *testing.T) {
	blank := rapid.StringMatching(`[ \t]{0,3}`)
	comment := rapid.SampledFrom([]string{"", "", ";", "\t; [x] = # ;", " ; port = 1"})
	word := rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9./:#=\[-]{0,8}[a-z0-9]`)
	name := rapid.StringMatching(`[a-z]{1,6}( [a-z]{1,6}){0,2}`)
	anyCase := rapid.SampledFrom([]func(string) string{strings.ToLower, strings.ToUpper, func(s string) string { return s }})
	rapid.Check(t, func(t *rapid.T) {
		var b bytes.Buffer
		line := 0
		write := func(s string) int {
			line++
			fmt.Fprint(&b, blank.Draw(t, "before"), s, blank.Draw(t, "after"), comment.Draw(t, "comment"),
				rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "end"))
			return line
		}
		want := &File{}
		for range rapid.IntRange(0, 4).Draw(t, "sections") {
			s := Section{Kind: rapid.SampledFrom([]string{"global", "lac", "lns"}).Draw(t, "kind")}
			head := anyCase.Draw(t, "case")(s.Kind)
			if s.Kind != "global" {
				s.Name = word.Draw(t, "name")
				head += " " + s.Name
			}
			s.Line = write("[" + head + "]")
			for range rapid.IntRange(0, 4).Draw(t, "keys") {
				k := Key{Name: name.Draw(t, "key"), Value: word.Draw(t, "value")}
				if k.Line = write(""); rapid.Bool().Draw(t, "spaced") {
					k.Value += " " + word.Draw(t, "more")
				}
				k.Line = write(anyCase.Draw(t, "case")(k.Name) + blank.Draw(t, "left") + "=" + blank.Draw(t, "right") + k.Value)
				s.Keys = append(s.Keys, k)
			}
			want.Sections = append(want.Sections, s)
		}
		got, err := Parse("f", &b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("mismatch (-want +got):\n%s", d)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("[global]\nport = 1701 ; c\n[lac a]\nlns = x\n"))
	f.Add([]byte("[lac\n"))
	f.Add([]byte("x = 1\n# y\n\x00;\xff=[]"))
	f.Add(append([]byte("[lac a]\n"), bytes.Repeat([]byte("a"), 3000)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("some/path", bytes.NewReader(data))
		lines := bytes.Count(data, []byte("\n")) + 1
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %T, want an *Error", err)
			}
			if e.Line < 1 || e.Line > lines || strings.ContainsAny(err.Error(), "\n\r") || e.Msg == "" {
				t.Fatalf("%d lines: %q", lines, err)
			}
			return
		}
		last := 0
		at := func(line int) {
			if line < last || line > lines {
				t.Fatalf("line %d after %d of %d", line, last, lines)
			}
			last = line
		}
		for _, s := range file.Sections {
			at(s.Line)
			if s.Kind != "global" && s.Kind != "lac" && s.Kind != "lns" {
				t.Fatalf("kind %q", s.Kind)
			}
			for _, k := range s.Keys {
				at(k.Line)
				if k.Name == "" || strings.ContainsAny(k.Name+k.Value, ";\n\x00") {
					t.Fatalf("got %+v, want a key without comment and line end", k)
				}
			}
		}
	})
}
