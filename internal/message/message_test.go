package message

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

// fixture is a language with a few texts.
func fixture() *Language {
	l := &Language{texts: map[string]string{}}
	for id, text := range map[string]string{
		"%s has %d links":   "%[2]d 本のリンクが %[1]s に",
		"up":                "接続",
		"is %s":             "は%s",
		"%.1f %% lost: %v":  "損失 %.1f %%: %v",
		"cannot open %s":    "%s を開けません",
		"%s: %v, try again": "%s: %v、やり直してください",
	} {
		l.texts[normal(id)] = text
	}
	return l
}

func TestText(t *testing.T) {
	refused := Errorf("cannot open %s", "/x")
	for _, tc := range []struct {
		name              string
		text              Text
		english, japanese string
	}{
		{"constant", "up", "up", "接続"},
		{"no translation", "never", "never", "never"},
		{"order of the arguments", Sprintf("%s has %d links", "ppp0", 2), "ppp0 has 2 links", "2 本のリンクが ppp0 に"},
		{"text in a text", Sprintf("is %s", Text("up")), "is up", "は接続"},
		{"data that looks like a text", Sprintf("is %s", "up"), "is up", "はup"},
		{"data", Data("up"), "up", "up"},
		{"percent", Sprintf("%.1f %% lost: %v", 0.25, "100%d"), "0.2 % lost: 100%d", "損失 0.2 %: 100%d"},
		{"error", Sprintf("%s: %v, try again", "a", refused), "a: cannot open /x, try again", "a: /x を開けません、やり直してください"},
		{"error of the system", Sprintf("is %s", fs.ErrPermission), "is permission denied", "はpermission denied"},
		{"text without a translation, with one inside", Sprintf("so %s and %q", Text("up"), "x"), `so up and "x"`, `so 接続 and "x"`},
		{"marks of a peer", Sprintf("is %s", "\u2069\u2068up\u2069%s\u2066"), "is up%s", "はup%s"},
		{"a mark alone", "a\u2068b", "ab", "a"},
		{"none", "", "", ""},
		{"joined", Join([]Text{"up", Data("b"), "up"}, "%s, %s"), "up, b, up", "接続, b, 接続"},
	} {
		if got := tc.text.String(); got != tc.english {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.english)
		}
		if got := fixture().Text(tc.text); got != tc.japanese {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.japanese)
		}
		if got := (*Language)(nil).Text(tc.text); got != tc.english {
			t.Errorf("%s: English is %q, want %q", tc.name, got, tc.english)
		}
	}
}

func TestErrorf(t *testing.T) {
	err := Errorf("%s: %v, try again", "a", fmt.Errorf("b: %w", fs.ErrNotExist))
	if !errors.Is(err, fs.ErrNotExist) || err.Error() != "a: b: file does not exist, try again" {
		t.Error(err)
	}
	if got := fixture().Error(errors.New("up")); got != "up" {
		t.Errorf("%q: an error of another package is data", got)
	}
	// As package flag does: the marks survive in its string.
	passed := errors.New("wrong: " + Marked(Errorf("is %s", Text("up"))).Error())
	if got := fixture().Sprintf("is %s", Text(passed.Error()[len("wrong: "):])); got != "はは接続" {
		t.Errorf("got %q, want %q", got, "はは接続")
	}
}

func TestOf(t *testing.T) {
	for _, tc := range []struct {
		all, messages, lang string
		japanese            bool
	}{
		{"", "", "", false},
		{"", "", "ja_JP.UTF-8", true},
		{"", "", "ja_JP.utf8", true},
		{"", "", "ja.UTF-8", true},
		{"", "", "ja_JP.UTF-8@x", true},
		{"", "", "ja_JP.eucJP", false},
		{"", "", "ja_JP", false}, // EUC-JP in Debian
		{"", "", "jam_JM.UTF-8", false},
		{"", "", "de_DE.UTF-8", false},
		{"", "ja_JP.UTF-8", "C", true},
		{"", "C", "ja_JP.UTF-8", false},
		{"C.UTF-8", "ja_JP.UTF-8", "ja_JP.UTF-8", false},
		{"POSIX", "ja_JP.UTF-8", "ja_JP.UTF-8", false},
		{"ja_JP.UTF-8", "C", "C", true},
	} {
		env := map[string]string{"LC_ALL": tc.all, "LC_MESSAGES": tc.messages, "LANG": tc.lang}
		if got := Of(func(name string) string { return env[name] }) != nil; got != tc.japanese {
			t.Errorf("%v: %v, want %v", env, got, tc.japanese)
		}
	}
}

func TestWidth(t *testing.T) {
	for text, want := range map[string]int{"": 0, "abc": 3, "トンネル": 8, "切断 1 本": 9, "→●✓…×": 5, "（）、。": 8, "ｱ": 1} {
		if got := Width(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	if got := Pad("切断", 6) + "|" + Pad("toolong", 3) + "|"; got != "切断  |toolong|" {
		t.Errorf("got %q, want %q", got, "切断  |toolong|")
	}
}

func TestParsePO(t *testing.T) {
	got := parsePO("# x\nmsgid \"\"\nmsgstr \"Language: ja\\n\"\n\nmsgid \"a \\\"b\\\"\"\nmsgstr \"\"\n\"c\\n\"\n\"d\"\nmsgid \"e\"\nmsgstr \"f\"\n")
	want := []Entry{{"a \"b\"", "c\nd", 5}, {"e", "f", 9}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
