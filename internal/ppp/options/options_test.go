package options

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

// files are some files by their paths.
type files map[string]string

func (f files) read(path string) ([]byte, error) {
	text, ok := f[path]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

// Each of these was asked of pppd 2.4.9 (see options_lab_test.go, which asks it again).
var persisting = []struct {
	name, text string
	want       bool
}{
	{"alone", "persist\n", true},
	{"the last word, without a newline", "noauth\npersist", true},
	{"not the first on its line", "noauth persist maxfail 0\n", true},
	{"indented", "\t persist\n", true},
	{"DOS lines", "noauth\r\npersist\r\n", true},
	{"in quotes, which a word may have", "per\"sist\"\n", true},
	{"letters by number", `\160ersis\x74` + "\n", true},
	{"an escaped letter stands for itself", `\persist` + "\n", true},
	{"a word over two lines", "per\\\nsist\n", true},
	{"a comment ends it", "persist#why\n", true},
	{"behind a comment", "# one\npersist\n", true},
	{"the last one wins", "nopersist\npersist\n", true},
	{"a value over several lines", "user 'a\nb' persist\n", true},
	{"nothing", "", false},
	{"in a comment", "# persist\n#persist\nnoauth #persist\n", false},
	{"a backslash does not prolong a comment", "# it \\\nnopersist\n", false},
	{"nopersist", "nopersist\n", false},
	{"nopersist later", "persist\nnoauth nopersist\n", false},
	{"in a value", "user 'persist' password persist\n", false},
	{"in a value with a blank", "connect \"echo persist\"\n", false},
	{"the value of a script", "connect\npersist\n", false},
	{"a quote that nobody closes", "user 'me\npersist\n", false},
}

func TestPersist(t *testing.T) {
	for _, tt := range persisting {
		all, err := Of(files{"/o": tt.text}.read, "/o")
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if o, ok := Persist(all); ok != tt.want {
			t.Errorf("%s: %v, by %+v", tt.name, ok, o)
		}
	}
}

// `demand` switches persist on too (options.c), which a dry run does not show.
func TestDemand(t *testing.T) {
	for text, want := range map[string]bool{"demand": true, "nopersist demand": true, "demand nopersist": false} {
		all, err := Of(files{"/o": text}.read, "/o")
		if o, ok := Persist(all); ok != want || err != nil {
			t.Errorf("%s: %v, by %+v, %v", text, ok, o, err)
		}
	}
}

// The file and the line are those in which the option stands.
func TestWhere(t *testing.T) {
	f := files{
		"/o":                       "noauth\nfile /etc/ppp/common name me\n",
		"/etc/ppp/common":          "# ours\n\ncall isp/home\n",
		"/etc/ppp/peers/isp/home":  "\\\nmtu 1410 \\\n persist",
		"/late":                    "file /etc/ppp/common nopersist",
		"/etc/ppp/peers/nopersist": "",
	}
	all, err := Of(f.read, "/o")
	if o, ok := Persist(all); !ok || err != nil || o != (Option{Name: "persist", Path: "/etc/ppp/peers/isp/home", Line: 3}) {
		t.Errorf("got %+v, %v, want persist of line 3", o, err)
	}
	if o, ok := Last(all, "name"); !ok || o != (Option{Name: "name", Value: "me", Path: "/o", Line: 2}) {
		t.Errorf("got %+v, want name of line 2", all)
	}
	if all, err = Of(f.read, "/late"); err != nil {
		t.Error(err)
	}
	if o, ok := Persist(all); ok {
		t.Errorf("got %+v, want none", o)
	}
}

// What the host's own files say holds unless the pppoptfile says something else.
func TestSystem(t *testing.T) {
	f := files{"/etc/ppp/options": "persist", "/o": "noauth", "/no": "nopersist"}
	for path, want := range map[string]bool{"/o": true, "": true, "/no": false} {
		all, err := Of(f.read, path)
		if o, ok := Persist(all); ok != want || err != nil || ok && o.Path != "/etc/ppp/options" {
			t.Errorf("%q: got %+v, %v, want persist: %v", path, o, err, want)
		}
	}
}

// pppd does not start with these; what they say before that is known all the same.
func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		"persist\nfile /none":       "/o:2: open /none",
		"persist file":              "/o:1: file lacks its value",
		"persist call /etc/passwd":  "/o:1: `call` takes the name of a file in /etc/ppp/peers/",
		"persist\n\ncall a/../b":    "/o:3: `call` takes",
		"persist file /o":           "without end",
		"persist call none noauth ": "/o:1: open /etc/ppp/peers/none",
	} {
		all, err := Of(files{"/o": text}.read, "/o")
		if _, ok := Persist(all); !ok || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %+v, %v, want persist, and %q in the error", text, all, err, want)
		}
	}
	if _, err := Of(files{}.read, "/o"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestWords(t *testing.T) {
	long := strings.Repeat("x", 2000)
	for text, want := range map[string][]string{
		`a\sb "c d" 'e"f' g\"h`:        {"a b", "c d", `e"f`, `g"h`},
		`\n\t\r\a\b\f`:                 {"\n\t\r\a\b\f"},
		`\101\1012\60 \x41\x4g \q\8`:   {"AA20", "A\x04g", "q8"},
		"\\\n  a\\\nb":                 {"ab"},
		`'' a`:                         {"", "a"},
		`a ""`:                         {"a"},
		"a\\":                          {"a"},
		"\\":                           {},
		"a'b\nc":                       {"ab\nc"},
		"a\v\fb\x00c d":                {"a", "b", "d"}, // a C string ends at the NUL
		`a\0b`:                         {"a"},
		`\777`:                         {"\xff"},
		`\#a #b`:                       {"#a"},
		long:                           {long[:1023]},
		"a\\\n#b":                      {"a"},
		"'a#b' c":                      {"a#b", "c"},
		"\xff \xc3\xa4":                {"\xff", "\xc3\xa4"},
		"a 'b\\'c' \"\\x2\" '\\\nd'\n": {"a", "b'c", "\x02", "d"},
	} {
		r := reader{data: []byte(text)}
		var got []string
		for {
			w, _, ok := r.word()
			if !ok {
				break
			}
			got = append(got, w)
		}
		if strings.Join(got, "|") != strings.Join(want, "|") || len(got) != len(want) {
			t.Errorf("%.40q: %q, want %q", text, got, want)
		}
	}
}

// Whatever is in a file, reading it ends, and a word is never longer than pppd's.
func FuzzWords(f *testing.F) {
	for _, tt := range persisting {
		f.Add([]byte(tt.text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		all, _ := Of(files{"/o": string(data)}.read, "/o")
		for _, o := range all {
			if len(o.Name) > maxWord || len(o.Value) > maxWord || o.Line < 1 || o.Path == "" {
				t.Errorf("got %+v, want bounded words with their place", o)
			}
		}
	})
}
