package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The part of CycloneDX 1.6 that is needed here.
type (
	document struct {
		Schema       string       `json:"$schema"`
		Format       string       `json:"bomFormat"`
		Spec         string       `json:"specVersion"`
		Version      int          `json:"version"`
		Metadata     metadata     `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	metadata struct {
		Timestamp string    `json:"timestamp"`
		Component component `json:"component"`
	}
	component struct {
		Type       string      `json:"type"`
		Ref        string      `json:"bom-ref"`
		Name       string      `json:"name"`
		Version    string      `json:"version,omitempty"`
		Hashes     []hash      `json:"hashes,omitempty"`
		Licences   []licence   `json:"licenses,omitempty"`
		Purl       string      `json:"purl,omitempty"`
		Components []component `json:"components,omitempty"`
		Properties []property  `json:"properties,omitempty"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	licence struct {
		Licence struct {
			ID string `json:"id"`
		} `json:"license"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	dependency struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn,omitempty"`
	}
)

func licensed(id string) []licence {
	var l licence
	l.Licence.ID = id
	return []licence{l}
}

// bill describes packages that were built from one source, by one Go.
func bill(built string, debs []deb, l licences, sums map[string]string) (*document, error) {
	version, goVersion := debs[0].version, debs[0].info.GoVersion
	main := component{Type: "application", Ref: "xl2tpd-keepalive", Name: "xl2tpd-keepalive", Version: version,
		Licences: licensed("Apache-2.0")}
	libraries := map[string]component{"std": {Type: "library", Ref: "pkg:golang/std@" + strings.TrimPrefix(goVersion, "go"),
		Name: "std", Version: goVersion, Purl: "pkg:golang/std@" + strings.TrimPrefix(goVersion, "go"),
		Licences: licensed("BSD-3-Clause")}}
	for _, d := range debs {
		if d.version != version || d.info.GoVersion != goVersion {
			return nil, fmt.Errorf("%s is version %s by %s, %s is version %s by %s",
				debs[0].file, version, goVersion, d.file, d.version, d.info.GoVersion)
		}
		main.Components = append(main.Components, component{Type: "file", Ref: d.file, Name: d.file,
			Hashes: []hash{{"SHA-256", d.sha256}}})
		for _, m := range d.info.Deps {
			id, err := l.of(m.Path)
			if err != nil {
				return nil, err
			}
			sum, ok := sums[m.Path+" "+m.Version]
			if !ok {
				return nil, fmt.Errorf("%s %s is not in go.sum", m.Path, m.Version)
			}
			purl := "pkg:golang/" + m.Path + "@" + m.Version
			// The sum is one of Go's own kind, and no hash of a file.
			libraries[m.Path] = component{Type: "library", Ref: purl, Name: m.Path, Version: m.Version, Purl: purl,
				Licences: licensed(id), Properties: []property{{"go.sum", sum}}}
		}
	}
	b := &document{Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", Format: "CycloneDX", Spec: "1.6", Version: 1,
		Metadata: metadata{built, main}}
	b.Components = slices.SortedFunc(maps.Values(libraries), func(a, b component) int { return cmp.Compare(a.Name, b.Name) })
	uses := dependency{Ref: main.Ref}
	for _, c := range b.Components {
		uses.DependsOn = append(uses.DependsOn, c.Ref)
	}
	b.Dependencies = []dependency{uses}
	return b, nil
}
