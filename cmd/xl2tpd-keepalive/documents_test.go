package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

const root = "../../"

// What a document may ask of its reader. The README is what people see first.
const (
	longestSentence = 30   // words
	meanSentence    = 18.0 // words
	longestReadme   = 150  // lines
)

// document is a Markdown file of the repository.
type document struct {
	name string // from the root of the repository
	text string
}

// documents returns every document that people read. Those in English alone are checked for their sentences.
func documents(t *testing.T) (all []document) {
	t.Helper()
	for _, pattern := range []string{"*.md", "docs/*.md", "lab/*.md"} {
		names, err := filepath.Glob(root + pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: no such documents, %v", pattern, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, document{strings.TrimPrefix(name, root), comment.ReplaceAllString(string(text), "")})
		}
	}
	return all
}

func (d document) dir() string { return path.Dir(d.name) }

func (d document) japanese() bool { return strings.HasSuffix(d.name, ".ja.md") }

// Comments name figures, and have the templates of their tables.
var comment = regexp.MustCompile(`(?s)<!--.*?-->`)

var fence = regexp.MustCompile("(?ms)^ *```.*?^ *```$")

// split parts a document into lines of code and paragraphs of prose. A heading, an item of a list and a cell of a table
// are paragraphs of their own.
func (d document) split() (code, prose, cells []string) {
	text := fence.ReplaceAllStringFunc(d.text, func(block string) string {
		if !strings.HasPrefix(strings.TrimSpace(block), "```mermaid") {
			lines := strings.Split(block, "\n")
			code = append(code, lines[1:len(lines)-1]...)
		}
		return ""
	})
	var paragraph []string
	end := func() {
		if paragraph != nil {
			prose = append(prose, strings.Join(paragraph, " "))
		}
		paragraph = nil
	}
	blank, list := true, false
	item := regexp.MustCompile(`^ *([-*]|\d+\.) +`)
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.TrimSpace(line) == "":
			end()
			blank = true
			continue
		case strings.HasPrefix(line, "    ") && (blank || len(paragraph) == 0) && !list:
			code = append(code, strings.TrimPrefix(line, "    "))
			continue
		case strings.HasPrefix(line, "|"):
			end()
			if !strings.HasPrefix(line, "|--") && !strings.HasPrefix(line, "| --") {
				cells = append(cells, strings.Split(strings.Trim(line, "|"), " | ")...)
			}
		case strings.HasPrefix(line, "#"), strings.HasPrefix(line, "!["):
			end()
			list = false
		case item.MatchString(line):
			end()
			list = true
			paragraph = append(paragraph, item.ReplaceAllString(line, ""))
		default:
			if !strings.HasPrefix(line, " ") && blank {
				list = false
			}
			paragraph = append(paragraph, strings.TrimSpace(line))
		}
		blank = false
	}
	end()
	return code, prose, cells
}

var (
	codeSpan     = regexp.MustCompile("`[^`]+`")
	markdownLink = regexp.MustCompile(`!?\[([^\]]*)\]\(([^)\s]+)\)`)
	sentenceEnd  = regexp.MustCompile("[.!?]['\")*_]* +")
)

// sentences parts prose into its sentences. What stands in backquotes, and the text of a link, is as many words as it
// has, but code is one.
func sentences(prose string) (all []string) {
	prose = codeSpan.ReplaceAllString(prose, "CODE")
	prose = markdownLink.ReplaceAllString(prose, `"$1`) // a sentence may begin with it
	last := 0
	for _, at := range sentenceEnd.FindAllStringIndex(prose, -1) {
		if next := []rune(prose[at[1]:]); len(next) > 0 && !unicode.IsUpper(next[0]) && !unicode.IsDigit(next[0]) && !strings.ContainsRune("([*\"'", next[0]) {
			continue // such as after "e.g."
		}
		all = append(all, prose[last:at[1]])
		last = at[1]
	}
	return append(all, prose[last:])
}

func words(sentence string) int {
	return len(strings.FieldsFunc(sentence, func(r rune) bool { return unicode.IsSpace(r) || r == '—' || r == '|' }))
}

// go test -v -run Sentences ./cmd/xl2tpd-keepalive prints the figures of each document.
func TestSentences(t *testing.T) {
	for _, d := range documents(t) {
		if d.japanese() || d.name == "CHANGELOG.md" || d.dir() == "lab" {
			continue // another language, or written for those who look something up
		}
		_, prose, cells := d.split()
		checkSentences(t, d.name, strings.Count(d.text, "\n"), prose)
		for _, cell := range cells {
			for _, s := range sentences(cell) {
				if size := words(s); size > longestSentence {
					t.Errorf("%s: %d words in one cell: %s", d.name, size, s)
				}
			}
		}
	}
	for _, name := range manualPages {
		text := read(t, name)
		checkSentences(t, "deploy/"+name, strings.Count(text, "\n"), manualProse(t, name))
	}
}

// checkSentences checks the sentences of paragraphs, and prints their figures.
func checkSentences(t *testing.T, name string, lines int, prose []string) {
	sum, n, longest := 0, 0, 0
	for _, p := range prose {
		for _, s := range sentences(p) {
			size := words(s)
			if size == 0 {
				continue
			}
			sum, n, longest = sum+size, n+1, max(longest, size)
			if size > longestSentence {
				t.Errorf("%s: %d words in one sentence: %s", name, size, s)
			}
		}
	}
	if n == 0 {
		t.Errorf("%s: no sentence", name)
		return
	}
	mean := float64(sum) / float64(n)
	t.Logf("%-27s %3d lines, %3d sentences of %4.1f words, the longest has %d", name, lines, n, mean, longest)
	if mean > meanSentence {
		t.Errorf("%s: a sentence has %.1f words on average, should have %.0f", name, mean, meanSentence)
	}
}

// manualProse returns the paragraphs of a manual page, but for the sections that are lists of names or code.
func manualProse(t *testing.T, name string) (prose []string) {
	markdown, err := exec.Command("mandoc", "-T", "markdown", deploy+name).Output()
	if err != nil {
		t.Fatal(err)
	}
	reads, plain := false, strings.NewReplacer("*", "", "\n> ", "\n") // mandoc quotes what it indents
	for paragraph := range strings.SplitSeq(string(markdown), "\n\n") {
		if title, ok := strings.CutPrefix(paragraph, "# "); ok {
			reads = !slices.Contains([]string{"NAME", "SYNOPSIS", "JSON", "EXAMPLES", "SEE ALSO"}, title)
		} else if reads {
			prose = append(prose, strings.Join(strings.Fields(plain.Replace("\n"+paragraph)), " "))
		}
	}
	return prose
}

func TestReadmeIsShort(t *testing.T) {
	for _, d := range documents(t) {
		if lines := strings.Count(d.text, "\n"); strings.HasPrefix(d.name, "README") && lines > longestReadme {
			t.Errorf("%s has %d lines, should have %d", d.name, lines, longestReadme)
		}
	}
}

// anchors are the places of a document that a link can lead to, as GitHub names them.
func anchors(text string) (all []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		title := strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, m[1])
		all = append(all, title)
	}
	return all
}

// Every link to a file of the repository has its file, and every link to a chapter its chapter.
func TestLinks(t *testing.T) {
	for _, d := range documents(t) {
		links := markdownLink.FindAllStringSubmatch(codeSpan.ReplaceAllString(fence.ReplaceAllString(d.text, ""), ""), -1)
		for _, m := range links {
			file, chapter, _ := strings.Cut(m[2], "#")
			if strings.Contains(file, ":") {
				continue
			}
			text := d.text
			if file != "" {
				name := path.Join(d.dir(), file)
				info, err := os.Stat(root + name)
				if err != nil {
					t.Errorf("%s: link to %s: %v", d.name, m[2], err)
					continue
				}
				if info.IsDir() {
					continue
				}
				b, err := os.ReadFile(root + name)
				if err != nil {
					t.Fatal(err)
				}
				text = string(b)
			}
			if chapter != "" && !slices.Contains(anchors(text), chapter) {
				t.Errorf("%s: link to %s: there is no such chapter, but %q", d.name, m[2], anchors(text))
			}
		}
	}
}

// spoken returns what a document shows as code: its blocks, and what stands in backquotes.
func (d document) spoken() []string {
	code, prose, cells := d.split()
	var spoken []string
	for _, line := range code {
		line, _, _ = strings.Cut(line, "  #")
		spoken = append(spoken, line)
	}
	for _, p := range append(prose, cells...) {
		for _, span := range codeSpan.FindAllString(p, -1) {
			spoken = append(spoken, strings.Trim(span, "`"))
		}
	}
	return spoken
}

// Files of the repository that documents name: with a folder, or at least with an ending that only they have.
var (
	filePath = regexp.MustCompile(`^(\./)?[\w.@-]+(/[\w.@*{},-]+)*/?$`)
	ownFile  = regexp.MustCompile(`(\.(go|md|txtar|svg)|/|/[\w.@*-]+\.(json|conf|service|socket|yml|[58]))$`)
)

// isFile reports whether a document names a file or folder of this repository.
func isFile(span string) bool {
	return filePath.MatchString(span) && ownFile.MatchString(span) && !strings.HasPrefix(span, ".cache/")
}

func TestNamedFiles(t *testing.T) {
	for _, d := range documents(t) {
		for _, span := range d.spoken() {
			if !isFile(span) {
				continue
			}
			here, err := filepath.Glob(root + path.Join(d.dir(), span))
			if err != nil {
				t.Fatal(err)
			}
			if there, _ := filepath.Glob(root + span); len(here)+len(there) == 0 {
				t.Errorf("%s: there is no %s", d.name, span)
			}
		}
	}
}

var (
	makeCommand  = regexp.MustCompile(`\bmake( [a-z][a-z-]*)?((?: [A-Z]+=(?:"[^"]*"|\S*))*)`)
	makeVariable = regexp.MustCompile(`\b([A-Z]+)=`)
	makeScenario = regexp.MustCompile(`\bRUN=([a-z-]{2,})`)
)

// makefile returns the targets and the variables that the Makefile has.
func makefile(t *testing.T) (targets, variables []string) {
	t.Helper()
	b, err := os.ReadFile(root + "Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^([a-z][a-z -]*):`).FindAllStringSubmatch(string(b), -1) {
		targets = append(targets, strings.Fields(m[1])...)
	}
	for _, m := range regexp.MustCompile(`\$\(([A-Z]+)\)`).FindAllStringSubmatch(string(b), -1) {
		variables = append(variables, m[1])
	}
	return targets, variables
}

// Every make target, variable and scenario that a document names is there.
func TestNamedTargets(t *testing.T) {
	targets, variables := makefile(t)
	for _, d := range documents(t) {
		for _, code := range d.spoken() {
			for _, m := range makeCommand.FindAllStringSubmatch(code, -1) {
				if target := strings.TrimSpace(m[1]); target != "" && !slices.Contains(targets, target) {
					t.Errorf("%s: %s: the Makefile has no target %s", d.name, code, target)
				}
				for _, v := range makeVariable.FindAllStringSubmatch(m[2], -1) {
					if !slices.Contains(variables, v[1]) {
						t.Errorf("%s: %s: the Makefile does not use %s", d.name, code, v[1])
					}
				}
			}
			for _, m := range makeScenario.FindAllStringSubmatch(code, -1) {
				if _, err := os.Stat(root + "lab/scenarios/" + m[1] + ".txtar"); err != nil {
					t.Errorf("%s: %s: %v", d.name, code, err)
				}
			}
		}
	}
}

// A go command that a document names finds its package and its test.
func TestNamedGoTests(t *testing.T) {
	named := regexp.MustCompile(`\bgo test .*-run '?\^?(\w+).* \./(\S+)|\bgo test .*\./(\S+) .*-run '?\^?(\w+)`)
	for _, d := range documents(t) {
		for _, code := range d.spoken() {
			m := named.FindStringSubmatch(code)
			if m == nil {
				continue
			}
			test, dir := m[1]+m[4], m[2]+m[3]
			out, err := exec.Command("grep", "-rlE", `^func (Test|Fuzz|Benchmark)\w*`+strings.TrimPrefix(test, "Test"), root+dir, "--include=*_test.go").CombinedOutput()
			if err != nil {
				t.Errorf("%s: %s: no such test, %v %s", d.name, code, err, out)
			}
		}
	}
}

// What documents for developers call by the name that it has in the code is called so there. Names in small letters alone
// may be anything.
func TestNamedIdentifiers(t *testing.T) {
	known := map[string]bool{}
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && e.Name() == ".cache":
			return filepath.SkipDir
		case e.IsDir(), path.Ext(name) != ".go", e.Name() == "documents_test.go":
			return nil
		}
		b, err := os.ReadFile(name)
		for _, word := range strings.FieldsFunc(string(b), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' }) {
			known[word] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	identifier := regexp.MustCompile(`^(\w+\.)?([A-Z][a-z]\w*)$`)
	for _, d := range documents(t) {
		if d.name != "docs/architecture.md" && d.name != "CONTRIBUTING.md" {
			continue
		}
		found := 0
		for _, span := range d.spoken() {
			m := identifier.FindStringSubmatch(span)
			if m == nil {
				continue
			}
			found++
			if !known[m[2]] {
				t.Errorf("%s: the code has no %s", d.name, span)
			}
		}
		if found == 0 {
			t.Errorf("%s names nothing of the code", d.name)
		}
	}
}

// Every package has a comment that says what the package is for.
func TestPackageComments(t *testing.T) {
	comments := map[string]string{} // by folder
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == ".cache" || e.Name() == "testdata"):
			return filepath.SkipDir
		case e.IsDir(), path.Ext(name) != ".go", strings.HasSuffix(name, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err == nil {
			comments[path.Dir(name)] += f.Doc.Text()
		}
		return err
	})
	if err != nil || len(comments) == 0 {
		t.Fatalf("%d packages, %v", len(comments), err)
	}
	for dir, text := range comments {
		if name := path.Base(dir) + " "; !strings.HasPrefix(text, "Package "+name) && !strings.HasPrefix(text, "Command "+name) {
			t.Errorf("%s: the comment of the package is %q, want one that begins with Package or Command", dir, text)
		}
	}
}

// Each command line of the program in a document is a command with flags that it takes.
func TestNamedCommands(t *testing.T) {
	known := commandLines()
	typed := regexp.MustCompile(`(?:^|[ /])xl2tpd-keepalive ([a-z][a-z-]*)((?: --?[a-z][a-z0-9-]*)*)$`)
	ofOthers := regexp.MustCompile(`^(sudo )?(systemctl|journalctl|man|apt)\b`)
	found := 0
	for _, d := range documents(t) {
		for _, code := range d.spoken() {
			code = strings.TrimRight(code, " ")
			m := typed.FindStringSubmatch(code)
			if m == nil || ofOthers.MatchString(code) {
				continue
			}
			found++
			flags, is := known[m[1]]
			if !is {
				t.Errorf("%s: %s: there is no command %s", d.name, code, m[1])
			}
			for _, flag := range strings.Fields(m[2]) {
				if !slices.ContainsFunc(flags, func(f string) bool { return strings.TrimLeft(f, "-") == strings.TrimLeft(flag, "-") }) {
					t.Errorf("%s: %s: %s does not take %s", d.name, code, m[1], flag)
				}
			}
		}
	}
	if found == 0 {
		t.Error("no command is named at all")
	}
}
