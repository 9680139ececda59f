package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// retired are words that the code once had for things that have a name in the field. They stand in no text and in no
// part of a name.
var retired = strings.Fields(`
	adopted alike atlas brain buried bury climb crew crowd debt desk eyes farewell fate judge learnt ledger leisure limbo
	lonely mender mourn orphan orphaned orphans owe owing paved reckon sealed spoke stranger strangers tryout vain vouch vouched
	witness witnesses`)

// retiredNames are whole names that said too little. In a sentence, the same words are plain English.
var retiredNames = strings.Fields("Apart Due Half Hands Kept Missed Signs settle settled")

// files that hold the names of a stored state, which stay as they are.
var storedStates = []string{"internal/helloguard/translator/translator_test.go", "lab/scenarios/hostile.txtar"}

var (
	jsonTag   = regexp.MustCompile(`json:"[^"]*"`)
	wordPart  = regexp.MustCompile(`[A-Z]?[a-z]+`)
	wholeName = regexp.MustCompile(`\w+`)
	proseLine = regexp.MustCompile(`(//|^#).*`)
)

// retiredIn returns the retired words in a text; names says that the text is Go, whose names count too.
func retiredIn(text string, names bool) (found []string) {
	text = jsonTag.ReplaceAllString(text, "")
	for _, part := range wordPart.FindAllString(text, -1) {
		if slices.Contains(retired, strings.ToLower(part)) {
			found = append(found, part)
		}
	}
	if names {
		for line := range strings.Lines(text) {
			for _, name := range wholeName.FindAllString(proseLine.ReplaceAllString(line, ""), -1) {
				if slices.Contains(retiredNames, name) {
					found = append(found, name)
				}
			}
		}
	}
	return found
}

// No text and no name has a retired word.
func TestNoRetiredWords(t *testing.T) {
	read := 0
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, ext := strings.TrimPrefix(filepath.ToSlash(path), root), filepath.Ext(path)
		switch {
		case e.IsDir() && slices.Contains([]string{".git", ".cache", "testdata"}, e.Name()):
			return filepath.SkipDir
		case e.IsDir(), !slices.Contains([]string{".go", ".md", ".txtar", ".5", ".8", ".conf", ".nft"}, ext),
			slices.Contains(storedStates, name), strings.HasSuffix(name, "/words_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		read++
		for _, word := range retiredIn(string(text), ext == ".go") {
			t.Errorf("%s: %q is retired", name, word)
		}
		return nil
	})
	if err != nil || read < 500 {
		t.Errorf("%d files, %v", read, err)
	}
}

func TestRetiredIn(t *testing.T) {
	for text, want := range map[string]int{
		"// closeOrphans closes them":      1,
		"the Brain decides":                1,
		"Offset uint16 `json:\"debt\"`":    0,
		"e.Missed = 3":                     1,
		"e.missed = 3 // Missed by nobody": 0,
		"signs of life":                    0,
	} {
		if got := retiredIn(text, true); len(got) != want {
			t.Errorf("%q: got %q, want %d words", text, got, want)
		}
	}
}
