package main

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

//go:embed personalities/*.json
var personalities embed.FS

// names lists the personalities built in.
func names() string {
	files, _ := fs.Glob(personalities, "personalities/*.json")
	for i, f := range files {
		files[i] = strings.TrimSuffix(path.Base(f), ".json")
	}
	return strings.Join(files, ", ")
}

// textOf returns a built-in personality, or the file of that path if the name ends in .json.
func textOf(name string) ([]byte, error) {
	if path.Ext(name) == ".json" {
		return os.ReadFile(name)
	}
	text, err := personalities.ReadFile("personalities/" + name + ".json")
	if err != nil {
		return nil, fmt.Errorf("no personality %q; there are %s", name, names())
	}
	return text, nil
}

// load reads a personality over the defaults, then the settings "key=value"
// over it. The value is JSON, or a bare string.
func load(name string, settings []string) (l2tp.Behaviour, error) {
	b := l2tp.Defaults()
	text, err := textOf(name)
	if err != nil {
		return b, err
	}
	if err := b.Decode(text); err != nil {
		return b, fmt.Errorf("personality %s: %w", name, err)
	}
	for _, s := range settings {
		key, value, ok := strings.Cut(s, "=")
		if !ok {
			return b, fmt.Errorf("setting %q: want key=value", s)
		}
		raw := json.RawMessage(value)
		if !json.Valid(raw) {
			raw, _ = json.Marshal(value)
		}
		text, err := json.Marshal(map[string]json.RawMessage{key: raw})
		if err != nil {
			return b, fmt.Errorf("setting %q: %w", s, err)
		}
		if err := b.Decode(text); err != nil {
			return b, fmt.Errorf("setting %q: %w", s, err)
		}
	}
	if err := b.Check(); err != nil {
		return b, fmt.Errorf("personality %s: %w", name, err)
	}
	return b, nil
}
