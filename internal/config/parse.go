package config

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// maxMistakes is how many unreadable lines are reported at a time.
const maxMistakes = 10

// Load reads a file. The error is a *xl2tpdconf.Error, or the system's if the file
// can't be read; fs.ErrNotExist if there is none.
func Load(path string) (*Config, error) {
	data, err := xl2tpdconf.Read(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// Parse reads a file's content; path is for messages. The error is a *xl2tpdconf.Error, the first
// of those that Mistakes returns.
func Parse(path string, data []byte) (*Config, error) {
	f, err := xl2tpdconf.Parse(path, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	c, mistakes := interpret(path, f)
	if len(mistakes) > 0 {
		return nil, mistakes[0]
	}
	return c, nil
}

// Mistakes returns what is wrong with a file's content, in the order of its lines.
func Mistakes(path string, data []byte) []*xl2tpdconf.Error {
	f, all := legible(path, data)
	_, mistakes := interpret(path, f)
	all = append(all, mistakes...)
	slices.SortStableFunc(all, func(a, b *xl2tpdconf.Error) int { return cmp.Compare(a.Line, b.Line) })
	return slices.CompactFunc(all, func(a, b *xl2tpdconf.Error) bool { return *a == *b })
}

// legible returns a file without the lines that can't be read. It also drops the settings behind a
// section header that can't be read: their section is unknown.
func legible(path string, data []byte) (f *xl2tpdconf.File, all []*xl2tpdconf.Error) {
	lines := bytes.Split(data, []byte("\n"))
	for {
		f, err := xl2tpdconf.Parse(path, bytes.NewReader(bytes.Join(lines, []byte("\n"))))
		var e *xl2tpdconf.Error
		if !errors.As(err, &e) {
			return f, all
		}
		all = append(all, e)
		bad := &lines[e.Line-1]
		if len(all) == maxMistakes || len(*bad) == 0 || bytes.HasPrefix(bytes.TrimSpace(*bad), []byte("[")) {
			lines = lines[:e.Line-1]
			continue
		}
		*bad = nil
	}
}

// interpret builds a Config from the sections of a file, and returns their mistakes. With a mistake
// the Config is incomplete.
func interpret(path string, f *xl2tpdconf.File) (c *Config, mistakes []*xl2tpdconf.Error) {
	drafts := map[string]*draft{}
	c = Default(path)
	for _, s := range f.Sections {
		d, wrong := newDraft(s)
		mistakes = append(mistakes, wrong...)
		if d == nil {
			continue
		}
		if first := drafts[d.id]; first != nil {
			mistakes = append(mistakes, fail(s.Line, "duplicate section [%s], the first is in line %d; put their keys together", d.title, first.line))
			continue
		}
		drafts[d.id] = d
		c.noteHook(d)
		if s.Kind != "global" {
			c.Sections = append(c.Sections, Section{Kind: s.Kind, Name: s.Name, Line: s.Line})
		}
	}
	global := drafts["global"]
	if global != nil {
		c.Metrics, c.MetricsLine = global.metrics, global.metricsLine
	}
	complete := len(mistakes) == 0 // else the default of an unreadable key may contradict another key
	merged := func(of ...*draft) Settings {
		s, wrong := merge(of...)
		if wrong != nil && complete {
			mistakes = append(mistakes, wrong)
		}
		return s
	}
	c.Global = merged(global)
	for i := range c.Sections {
		s := &c.Sections[i]
		s.Settings = merged(global, drafts[s.Kind+" default"], drafts[id(s.Kind, s.everywhere())], drafts[id(s.Kind, s.Name)])
	}
	for _, e := range mistakes {
		e.Path = path
	}
	return c, mistakes
}

// noteHook keeps the line of a section's hook.
func (c *Config) noteHook(d *draft) {
	if d.hook == nil || c.HookLines[*d.hook] != 0 {
		return
	}
	if c.HookLines == nil {
		c.HookLines = map[string]int{}
	}
	c.HookLines[*d.hook] = d.hookLine
}
