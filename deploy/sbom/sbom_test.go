package main

import (
	"os"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const copyright = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: someone
License: Apache-2.0

Files: vendor/golang.org/x/*
 vendor/example.org/a/*
Copyright: 2009 The Go Authors
License: BSD-3-clause

Files: vendor/golang.org/x/net/*
Copyright: someone else
License: Expat
Comment: nothing

License: Expat
 Permission is hereby granted
`

func TestLicences(t *testing.T) {
	l := parseLicences(copyright)
	for module, want := range map[string]string{
		"golang.org/x/sys": "BSD-3-Clause", "golang.org/x/net": "MIT", "example.org/a/v2": "BSD-3-Clause",
		"example.org/b": "",
	} {
		got, err := l.of(module)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v, want %q", module, got, err, want)
		}
	}
	l["vendor/example.org/b"] = "Beer"
	if _, err := l.of("example.org/b"); err == nil {
		t.Error("a licence that SPDX has no name for was accepted")
	}
}

// The packages' copyright file has the licence of each module, as a source package must.
func TestEveryModuleHasItsLicence(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile("../debian/copyright")
	if err != nil {
		t.Fatal(err)
	}
	l := parseLicences(string(file))
	modules := regexp.MustCompile(`(?m)^\t(\S+) v`).FindAllStringSubmatch(string(mod), -1)
	if len(modules) == 0 {
		t.Fatal("go.mod has no modules")
	}
	for _, m := range modules {
		if _, err := l.of(m[1]); err != nil {
			t.Error(err)
		}
	}
}

func TestBuildTime(t *testing.T) {
	if got, err := buildTime("1795435200"); got != "2026-11-23T12:00:00Z" || err != nil {
		t.Error(got, err)
	}
	if _, err := buildTime(""); err == nil {
		t.Error("no time was accepted")
	}
}

func TestBill(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{{Path: "golang.org/x/sys", Version: "v0.49.0"}}}
	other := &debug.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{{Path: "golang.org/x/net", Version: "v0.59.0"}}}
	sums := parseSums("golang.org/x/sys v0.49.0 h1:s=\ngolang.org/x/sys v0.49.0/go.mod h1:m=\ngolang.org/x/net v0.59.0 h1:n=\n")
	l := parseLicences(copyright)
	b, err := bill("then", []deb{{"a.deb", "aa", "1.0", info}, {"b.deb", "bb", "1.0", other}}, l, sums)
	if err != nil {
		t.Fatal(err)
	}
	want := []component{
		{Type: "library", Ref: "pkg:golang/golang.org/x/net@v0.59.0", Name: "golang.org/x/net", Version: "v0.59.0",
			Purl: "pkg:golang/golang.org/x/net@v0.59.0", Licences: licensed("MIT"), Properties: []property{{"go.sum", "h1:n="}}},
		{Type: "library", Ref: "pkg:golang/golang.org/x/sys@v0.49.0", Name: "golang.org/x/sys", Version: "v0.49.0",
			Purl: "pkg:golang/golang.org/x/sys@v0.49.0", Licences: licensed("BSD-3-Clause"), Properties: []property{{"go.sum", "h1:s="}}},
		{Type: "library", Ref: "pkg:golang/std@1.26.8", Name: "std", Version: "go1.26.8", Purl: "pkg:golang/std@1.26.8",
			Licences: licensed("BSD-3-Clause")},
	}
	if d := cmp.Diff(want, b.Components); d != "" {
		t.Error(d)
	}
	if got := b.Metadata.Component; got.Version != "1.0" || len(got.Components) != 2 || got.Components[1].Hashes[0].Content != "bb" {
		t.Errorf("the component is %+v", got)
	}
	if got := b.Dependencies[0].DependsOn; len(got) != 3 {
		t.Errorf("the program depends on %v, want three modules", got)
	}
}

func TestBillRefuses(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{{Path: "golang.org/x/sys", Version: "v0.49.0"}}}
	newer := &debug.BuildInfo{GoVersion: "go1.27"}
	sums := map[string]string{"golang.org/x/sys v0.49.0": "h1:s="}
	l := parseLicences(copyright)
	for _, tc := range []struct {
		debs []deb
		l    licences
		sums map[string]string
		says string
	}{
		{[]deb{{"a", "", "1.0", info}, {"b", "", "1.1", info}}, l, sums, "b is version 1.1"},
		{[]deb{{"a", "", "1.0", info}, {"b", "", "1.0", newer}}, l, sums, "by go1.27"},
		{[]deb{{"a", "", "1.0", info}}, licences{}, sums, "which licence"},
		{[]deb{{"a", "", "1.0", info}}, l, nil, "not in go.sum"},
	} {
		if _, err := bill("then", tc.debs, tc.l, tc.sums); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%v, want %q", err, tc.says)
		}
	}
}
