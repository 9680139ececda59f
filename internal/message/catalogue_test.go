package message

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

const (
	module = "xl2tpd-keepalive"
	here   = module + "/internal/message"
)

// sources are the texts in the program's sources.
type sources struct {
	fset     *token.FileSet
	importer types.Importer
	texts    map[string]string // where each text is, by its id
	faults   []string          // calls with too few or too many arguments, and conversions that keep the marks
}

// readSources type-checks every package that may have texts. A constant of type Text or Format is a text.
func readSources(t *testing.T) *sources {
	const form = "{{.ImportPath}}\t{{.Export}}\t{{.Dir}}\t{{range .GoFiles}}{{.}} {{end}}"
	list := exec.Command("go", "list", "-deps", "-export", "-f", form, module+"/cmd/...")
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	export := map[string]string{}
	s := &sources{fset: token.NewFileSet(), texts: map[string]string{}}
	s.importer = importer.ForCompiler(s.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(export[path]) })
	var own [][]string
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		export[f[0]] = f[1]
		if strings.HasPrefix(f[0], module+"/") && f[0] != here {
			own = append(own, f)
		}
	}
	for _, p := range own {
		s.add(t, p[0], p[2], strings.Fields(p[3]))
	}
	return s
}

func (s *sources) add(t *testing.T, path, dir string, names []string) {
	var files []*ast.File
	for _, name := range names {
		f, err := parser.ParseFile(s.fset, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	if _, err := (&types.Config{Importer: s.importer}).Check(path, s.fset, files, info); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				s.checkCall(info, call)
				s.checkConversion(info, call)
			}
			e, ok := n.(ast.Expr)
			if !ok {
				return true
			}
			id, ok := textID(info.Types[e])
			if ok && id != "" {
				s.texts[id] = s.fset.Position(e.Pos()).String()
			}
			return !ok // parts of a constant are no texts
		})
	}
}

// textID returns the id of an expression that is a text.
func textID(tv types.TypeAndValue) (id string, ok bool) {
	kind := kindOf(tv.Type)
	if kind == "" || tv.Value == nil {
		return "", false
	}
	id = constant.StringVal(tv.Value)
	if kind == "Text" {
		id = strings.ReplaceAll(id, "%", "%%")
	}
	return id, true
}

// kindOf returns Text or Format if the type is one of those.
func kindOf(t types.Type) string {
	named, ok := types.Unalias(t).(*types.Named)
	if !ok || named.Obj().Pkg() == nil || named.Obj().Pkg().Path() != here {
		return ""
	}
	if name := named.Obj().Name(); name == "Text" || name == "Format" {
		return name
	}
	return ""
}

// checkConversion finds a conversion of a Text that is no constant: its string has marks, which String removes.
func (s *sources) checkConversion(info *types.Info, call *ast.CallExpr) {
	if !info.Types[call.Fun].IsType() || len(call.Args) != 1 {
		return
	}
	from, to := info.Types[call.Args[0]], info.Types[call.Fun]
	if kindOf(from.Type) == "Text" && from.Value == nil && kindOf(to.Type) == "" {
		s.faults = append(s.faults, fmt.Sprintf("%v: a conversion keeps the marks, call String or Marked", s.fset.Position(call.Pos())))
	}
}

// checkCall compares the verbs of a format with the number of arguments: go vet knows formats of type string only.
func (s *sources) checkCall(info *types.Info, call *ast.CallExpr) {
	sig, ok := info.Types[call.Fun].Type.(*types.Signature)
	if !ok || !sig.Variadic() || call.Ellipsis.IsValid() || sig.Params().Len() < 2 {
		return
	}
	at := sig.Params().Len() - 2
	if kindOf(sig.Params().At(at).Type()) != "Format" || len(call.Args) <= at {
		return
	}
	format, ok := textID(info.Types[call.Args[at]])
	if got, want := len(call.Args)-at-1, len(verbs(format)); ok && got != want {
		s.faults = append(s.faults, fmt.Sprintf("%v: %q has %d verbs and %d arguments", s.fset.Position(call.Pos()), format, want, got))
	}
}

// verbs returns the verbs of a format in the order of their arguments, without flags.
func verbs(format string) []string {
	var all []string
	next := 1
	for _, m := range verb.FindAllStringSubmatch(format, -1) {
		if m[0] == "%%" {
			continue
		}
		n := next
		if m[1] != "" {
			fmt.Sscan(m[1], &n)
		}
		next = n + 1
		all = append(all, fmt.Sprintf("%2d %s", n, strings.Replace(m[0], "["+m[1]+"]", "", 1)))
	}
	slices.Sort(all)
	return all
}

// speaks reports whether there are words between the verbs of a text.
func speaks(id string) bool {
	return strings.ContainsFunc(verb.ReplaceAllString(id, ""), unicode.IsLetter)
}

// literal matches what is the same in each language: code, flags, paths, commands and keys.
var literal = regexp.MustCompile("`[^`]*`|--[a-z][a-z-]*|/(?:etc|run|var|proc|lib)/[\\w./-]+|\\b(?:systemctl|journalctl|chgrp|chmod|apt|modprobe)\\b|CAP_\\w+|\\[(?:global|lac|lns)[^\\]]*\\]")

func literals(text string) []string {
	all := literal.FindAllString(text, -1)
	slices.Sort(all)
	return slices.Compact(all)
}

// The catalogue has every text of the program, and no other one. Both sides have the same verbs and the same code.
func TestCatalogue(t *testing.T) {
	s := readSources(t)
	if len(s.texts) < 200 {
		t.Fatalf("only %d texts were found", len(s.texts))
	}
	for _, fault := range s.faults {
		t.Error(fault)
	}
	catalogue := map[string]Entry{}
	for _, e := range parsePO(japanese) {
		if first, twice := catalogue[normal(e.ID)]; twice {
			t.Errorf("ja.po:%d: %q is in line %d already", e.Line, e.ID, first.Line)
		}
		catalogue[normal(e.ID)] = e
		if _, used := s.texts[e.ID]; !used {
			t.Errorf("ja.po:%d: the program does not say %q any more", e.Line, e.ID)
		}
		if !slices.Equal(verbs(e.ID), verbs(e.Text)) {
			t.Errorf("ja.po:%d: %q has the verbs %q, %q has %q", e.Line, e.ID, verbs(e.ID), e.Text, verbs(e.Text))
		}
		if !slices.Equal(literals(e.ID), literals(e.Text)) {
			t.Errorf("ja.po:%d: %q has the code %q, %q has %q", e.Line, e.ID, literals(e.ID), e.Text, literals(e.Text))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.texts)) {
		if e, known := catalogue[normal(id)]; speaks(id) && (!known || e.Text == "" || e.ID != id) {
			t.Errorf("%s: no translation in ja.po of\nmsgid %q\nmsgstr \"\"", s.texts[id], id)
		}
	}
}
