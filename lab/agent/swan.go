package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/strongswan/govici/vici"
)

// section is a part of strongSwan's configuration: strings, lists of them, and sections.
type section map[string]any

// text is the section as swanctl.conf has it.
func (s section) text() string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(s)) {
		switch value := s[key].(type) {
		case section:
			fmt.Fprintf(&b, "%s {\n%s}\n", key, value.text())
		case []string:
			fmt.Fprintf(&b, "%s = %s\n", key, strings.Join(value, ", "))
		default:
			fmt.Fprintf(&b, "%s = %v\n", key, value)
		}
	}
	return b.String()
}

// message is the section as VICI has it.
func (s section) message() (*vici.Message, error) {
	m := vici.NewMessage()
	for key, value := range s {
		if part, ok := value.(section); ok {
			inner, err := part.message()
			if err != nil {
				return nil, err
			}
			value = inner
		}
		if err := m.Set(key, value); err != nil {
			return nil, err
		}
	}
	return m, nil
}
