package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
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

// load reads a built-in personality over the defaults, then the settings
// "key=value" over it. The value is JSON, or a bare string.
func load(name string, settings []string) (l2tp.Behaviour, error) {
	b := l2tp.Defaults()
	text, err := personalities.ReadFile("personalities/" + name + ".json")
	if err != nil {
		return b, fmt.Errorf("no personality %q; there are %s", name, names())
	}
	if err := apply(&b, text); err != nil {
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
		if err := apply(&b, text); err != nil {
			return b, fmt.Errorf("setting %q: %w", s, err)
		}
	}
	if err := b.Check(); err != nil {
		return b, fmt.Errorf("personality %s: %w", name, err)
	}
	return b, nil
}

// apply decodes one JSON object over b; a key that b does not have is an
// error.
func apply(b *l2tp.Behaviour, text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(b); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}
