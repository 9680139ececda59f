package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The manual pages that deploy has in English, and deploy/ja in Japanese.
var manualPages = []string{"keepalive.conf.5", "xl2tpd-keepalive.8"}

// lacking reports every word of one text that another one lacks, each in one line. It returns whether there is none.
func lacking(t *testing.T, words []string, of, other string, others []string, what string) bool {
	t.Helper()
	good := true
	for _, word := range slices.Compact(slices.Sorted(slices.Values(words))) {
		if !slices.Contains(others, word) {
			good = false
			t.Errorf("%s lacks %s %q, which %s has", other, what, word, of)
		}
	}
	return good
}

// same reports what only one of two texts has, or else that the order differs.
func same(t *testing.T, english, japanese string, en, ja []string, what string) {
	t.Helper()
	both := lacking(t, en, english, japanese, ja, what)
	if lacking(t, ja, japanese, english, en, what) && both && !slices.Equal(en, ja) {
		t.Errorf("%s has each %s of %s, but not as often or not in the same order:\n%q\n%q", japanese, what, english, ja, en)
	}
}

// sameSet is same for words with an order and number that differ by language. It reports whether both texts have all.
func sameSet(t *testing.T, english, japanese string, en, ja []string, what string) bool {
	t.Helper()
	all := lacking(t, en, english, japanese, ja, what)
	return lacking(t, ja, japanese, english, en, what) && all
}

var (
	// Macros with words that are not translated, and what each of them marks.
	literal = map[string]string{"Ic": "the key", "Cm": "the command or value", "Fl": "the flag", "Pa": "the file",
		"Ev": "the variable", "Dv": "the constant", "Li": "the name", "Xr": "the page", "Ql": "the text"}
	macro     = regexp.MustCompile(`^[A-Z][a-z]$`)
	delimiter = regexp.MustCompile(`^[,.|:;()=。、]$`)
)

// literals returns the words behind each macro of literal on one line of a manual page, in their order.
func literals(line string) (found [][2]string) {
	if !strings.HasPrefix(line, ".") {
		return nil
	}
	kind, words := "", []string{}
	end := func() {
		if literal[kind] != "" && len(words) > 0 {
			found = append(found, [2]string{kind, strings.Join(words, " ")})
		}
		words = nil
	}
	for _, token := range strings.Fields(line[1:]) {
		switch {
		case macro.MatchString(token):
			end()
			kind = token
		case delimiter.MatchString(token):
			end()
		default:
			words = append(words, token)
		}
	}
	end()
	return found
}

// manualPage is a manual page as far as it is not translated.
type manualPage struct {
	words    map[string][]string // by their macro
	items    []string            // what is not translated of each .It line
	synopsis []string            // each command with its flags and names
	examples []string            // the lines of each .Bd block
	numbers  []string
	date     string
	sections []string
}

var (
	number     = regexp.MustCompile(`\d+(\.\d+)?`)
	exitStatus = regexp.MustCompile(`^\.It \d+$`)
)

func parsePage(text string) manualPage {
	p := manualPage{words: map[string][]string{}}
	example := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, ".Bd "), line == ".Ed":
			example = !example
			continue
		case example:
			p.examples = append(p.examples, line)
			continue
		case strings.HasPrefix(line, ".Dd "):
			p.date = line
			continue
		case strings.HasPrefix(line, ".Sh "):
			p.sections = append(p.sections, line[len(".Sh "):])
		}
		p.numbers = append(p.numbers, number.FindAllString(line, -1)...)
		p.add(line)
	}
	return p
}

func (p *manualPage) add(line string) {
	var item []string
	for _, found := range literals(line) {
		kind, word := found[0], found[1]
		p.words[kind] = append(p.words[kind], word)
		item = append(item, word)
	}
	switch {
	case strings.HasPrefix(line, ".It ") && item != nil:
		p.items = append(p.items, strings.Join(item, ", "))
	case exitStatus.MatchString(line):
		p.items = append(p.items, line[len(".It "):])
	}
	if len(p.sections) == 2 { // the second one is the synopsis
		p.usage(line, item)
	}
}

// usage adds a line of the synopsis, and what of it is not translated.
func (p *manualPage) usage(line string, words []string) {
	last := len(p.synopsis) - 1
	switch {
	case strings.HasPrefix(line, ".Cm "):
		p.synopsis = append(p.synopsis, words[0])
	case strings.HasPrefix(line, ".Op Fl "):
		p.synopsis[last] += " -" + strings.Join(words, " ")
	case strings.HasPrefix(line, ".Op Ar "):
		p.synopsis[last] += " [NAME]"
	case strings.HasPrefix(line, ".Ar "):
		p.synopsis[last] += " NAME"
	}
}

// A Japanese page has what the English one has and is not translated, and nothing else. It has every number of the
// English one, and the date of its last change.
func TestJapaneseManual(t *testing.T) {
	for _, name := range manualPages {
		english, japanese := "deploy/"+name, "deploy/ja/"+name
		en, ja := parsePage(read(t, name)), parsePage(read(t, "ja/"+name))
		all := true
		for _, kind := range slices.Sorted(maps.Keys(literal)) {
			all = sameSet(t, english, japanese, en.words[kind], ja.words[kind], literal[kind]+" (."+kind+")") && all
		}
		if all { // or their items are told already
			same(t, english, japanese, en.items, ja.items, "the item (.It)")
		}
		same(t, english, japanese, en.synopsis, ja.synopsis, "the command line")
		same(t, english, japanese, en.examples, ja.examples, "the line of an example")
		lacking(t, en.numbers, english, japanese, ja.numbers, "the number")
		if len(en.sections) != len(ja.sections) {
			t.Errorf("%s has the sections %q, %s %q", english, en.sections, japanese, ja.sections)
		}
		if en.date != ja.date {
			t.Errorf("%s says %q, %s %q: read them again", english, en.date, japanese, ja.date)
		}
		if len(en.words) < 5 || len(en.items) < 10 {
			t.Errorf("%s has few words: %v, %q", english, en.words, en.items)
		}
	}
}

// mandoc's complaints about pages with Japanese section names: it looks for "NAME".
var japaneseNames = regexp.MustCompile(`(?m)^.*WARNING: (first section is not "NAME"|description line outside NAME section): .*\n`)

// Programs that know no Japanese break a line at blanks alone. So a line of a page's source is short: it ends behind 。 or 、.
func TestJapaneseManualForm(t *testing.T) {
	for _, name := range manualPages {
		file := deploy + "ja/" + name
		lint, _ := exec.Command("mandoc", "-Tlint", "-Wwarning", file).CombinedOutput()
		if rest := japaneseNames.ReplaceAllString(string(lint), ""); rest != "" || len(lint) == 0 {
			t.Errorf("mandoc of deploy/ja/%s:\n%s", name, rest)
		}
		man := exec.Command("man", "--warnings", "-l", "-Tutf8", "-Z", file)
		man.Env = append(man.Environ(), "LC_ALL=C.UTF-8")
		var errs strings.Builder
		man.Stderr = &errs
		if err := man.Run(); err != nil {
			t.Errorf("man of deploy/ja/%s: %v", name, err)
		}
		if errs.Len() > 0 {
			t.Errorf("man of deploy/ja/%s; what it can't break wants a new line behind 。 or 、:\n%s", name, &errs)
		}
	}
}

// "make install" puts each Japanese page where man looks for it, and "make uninstall" takes away all but the configuration.
func TestJapaneseManualInstalled(t *testing.T) {
	dry := func(target string) string {
		out, err := exec.Command("make", "-C", root, "--no-print-directory", "-n", target, "DESTDIR=/there").CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	installed, removed := dry("install"), strings.Fields(dry("uninstall"))
	for _, name := range manualPages {
		file := fmt.Sprintf("/there/usr/share/man/ja/man%s/%s", name[len(name)-1:], name)
		if !strings.Contains(installed, "deploy/ja/"+name+" "+file+"\n") {
			t.Errorf("make install does not make %s", file)
		}
	}
	for _, file := range regexp.MustCompile(`(?m)^install -D .* (\S+)$`).FindAllStringSubmatch(installed, -1) {
		if !slices.Contains(removed, file[1]) {
			t.Errorf("make uninstall leaves %s", file[1])
		}
	}
}

func documentNamed(t *testing.T, name string) document {
	t.Helper()
	all := documents(t)
	at := slices.IndexFunc(all, func(d document) bool { return d.name == name })
	if at < 0 {
		t.Fatalf("there is no %s", name)
	}
	return all[at]
}

// codeLines are those of a document's code blocks without their comments, which are translated. So are the words beside a
// drawn line, and the output of status, of which the addresses stay.
func codeLines(d document) (lines []string) {
	code, _, _ := d.split()
	for _, line := range code {
		line, _, _ = strings.Cut(line, "  #")
		if at := strings.IndexRune(line, '━'); at >= 0 {
			line = line[at : strings.LastIndex(line, "━")+len("━")]
		}
		if strings.Contains(line, "●") || strings.HasPrefix(line, "    ") {
			line = strings.Join(address.FindAllString(line, -1), " ")
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

var address = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+`)

// linkTargets are where a document's links lead, without those between its chapters or languages. A page that is in Japanese
// too counts as the English one; its chapters have other names.
func linkTargets(d document) (targets []string) {
	itself, _, _ := strings.Cut(path.Base(d.name), ".")
	for _, m := range markdownLink.FindAllStringSubmatch(d.text, -1) {
		target := m[2]
		if strings.HasPrefix(target, "#") || strings.HasPrefix(target, itself) {
			continue
		}
		if file, _, _ := strings.Cut(target, "#"); hasJapanese(file) {
			target = strings.Replace(file, ".ja.md", ".md", 1)
		}
		targets = append(targets, target)
	}
	return targets
}

// hasJapanese reports whether a document of the repository is there in both languages.
func hasJapanese(file string) bool {
	_, err := os.Stat(root + strings.TrimSuffix(strings.TrimSuffix(file, ".md"), ".ja") + ".ja.md")
	return err == nil
}

// spans are what stands in backquotes, in a document or a part of it. A word in capitals that readers replace is
// translated.
func spans(text string) (found []string) {
	for _, span := range codeSpan.FindAllString(text, -1) {
		found = append(found, strings.ReplaceAll(strings.Trim(span, "`"), "アドレス", "ADDRESS"))
	}
	return found
}

// rows are those of a document's tables. Each is told by its code spans and links, cell by cell.
func rows(d document) (rows []string) {
	for line := range strings.Lines(d.text) {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		var cells []string
		for _, cell := range strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|") {
			found := append(spans(cell), linkTargets(document{d.name, cell})...)
			slices.Sort(found)
			cells = append(cells, strings.Join(found, " "))
		}
		rows = append(rows, strings.Join(cells, " | "))
	}
	return rows
}

// headings are the level of each heading of a document: the words are translated.
func headings(d document) (levels []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ `).FindAllString(fence.ReplaceAllString(d.text, ""), -1) {
		levels = append(levels, strings.TrimSpace(m))
	}
	return levels
}

func TestJapaneseReadme(t *testing.T) { checkTranslation(t, "README") }

func TestJapaneseMonitoring(t *testing.T) { checkTranslation(t, "docs/monitoring") }

// checkTranslation checks that a Japanese document says what the English one says: it has the same chapters, code, links,
// tables and figures.
func checkTranslation(t *testing.T, name string) {
	t.Helper()
	english, japanese := documentNamed(t, name+".md"), documentNamed(t, name+".ja.md")
	compare := func(of func(document) []string, what string) {
		t.Helper()
		same(t, english.name, japanese.name, of(english), of(japanese), what)
	}
	compare(headings, "the heading")
	compare(codeLines, "the line of code")
	compare(rows, "the row of a table with")
	sameSet(t, english.name, japanese.name, linkTargets(english), linkTargets(japanese), "the link to")
	sameSet(t, english.name, japanese.name, spans(english.text), spans(japanese.text), "the code")
	figures := func(d document) []string { return number.FindAllString(d.text, -1) }
	lacking(t, figures(english), english.name, japanese.name, figures(japanese), "the number")
}

// chapter is a part of a document, with its heading.
func (d document) chapter(t *testing.T, title string) document {
	t.Helper()
	_, text, ok := strings.Cut(d.text, "\n## "+title+"\n")
	if !ok {
		t.Fatalf("%s has no chapter %q", d.name, title)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return document{d.name, text}
}

// The Japanese questions and answers are others than the English ones, but the way to install is the same.
func TestJapaneseInstall(t *testing.T) {
	english := documentNamed(t, "docs/troubleshooting.md").chapter(t, "Install without the package")
	japanese := documentNamed(t, "docs/troubleshooting.ja.md").chapter(t, "パッケージを使わないインストール")
	same(t, english.name, japanese.name, codeLines(english), codeLines(japanese), "the line of code")
}

// A line break between two Japanese letters shows as a gap, so each paragraph is one line.
func TestJapaneseParagraphs(t *testing.T) {
	plain := func(line string) bool { return line != "" && !strings.ContainsRune("|#-! 0123456789[", rune(line[0])) }
	for _, d := range documents(t) {
		if !d.japanese() {
			continue
		}
		lines := strings.Split(fence.ReplaceAllString(d.text, ""), "\n")
		for i, line := range lines[1:] {
			if plain(line) && lines[i] != "" && !strings.HasPrefix(lines[i], "#") {
				t.Errorf("%s:%d: a line break within a paragraph", d.name, i+2)
			}
		}
	}
}
