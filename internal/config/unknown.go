package config

import (
	"path/filepath"
	"slices"
	"strings"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/typo"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// Unknown returns one line for each section that names no LAC or LNS and so has no effect.
// headers returns the sections of xl2tpd's file with that path, or of all files for an empty path;
// known is false if they are not known. LACs that were added at run time are in no file, and no
// section applies to them.
func (c *Config) Unknown(headers func(path string) (all []xl2tpdconf.Header, known bool)) []message.Text {
	var lines []message.Text
	for _, s := range c.Sections {
		path, name := file(s.Name)
		if name == "default" {
			continue
		}
		all, known := headers(path)
		is := xl2tpdconf.Header{Kind: s.Kind, Name: name}
		if known && !has(all, is) {
			lines = append(lines, message.Sprintf("%s:%d: %s", c.Path, s.Line, unknown(path, is, all)))
		}
	}
	return lines
}

// unknown returns the line for a section that a file does not have.
func unknown(path string, is xl2tpdconf.Header, all []xl2tpdconf.Header) message.Text {
	text := message.Sprintf("no xl2tpd has a %v, this section does nothing", is)
	if path != "" {
		text = message.Sprintf("%s has no %v, this section does nothing", path, is)
	}
	if meant, ok := nearest(is, all); ok {
		meant.Name = strings.TrimSpace(path + " " + meant.Name)
		text = message.Sprintf("%s; did you mean %v?", text, meant)
	}
	return text
}

func has(all []xl2tpdconf.Header, is xl2tpdconf.Header) bool {
	return slices.ContainsFunc(all, func(h xl2tpdconf.Header) bool { return h.Kind == is.Kind && xl2tpdconf.SameName(h.Name, is.Name) })
}

// nearest returns the section that was probably meant: one of nearly the same name, or of the same
// name and the other kind.
func nearest(is xl2tpdconf.Header, all []xl2tpdconf.Header) (meant xl2tpdconf.Header, ok bool) {
	least := max(1, len(is.Name)/3) + 1
	all = append(all[:len(all):len(all)], xl2tpdconf.Header{Kind: is.Kind, Name: "default"})
	for _, h := range all {
		if h.Name == "" {
			continue // no section can name it
		}
		d := typo.Distance(xl2tpdconf.Lower(is.Name), xl2tpdconf.Lower(h.Name))
		if h.Kind != is.Kind {
			d++
		}
		if d < least {
			meant, ok, least = h, true, d
		}
	}
	return meant, ok
}

// file splits the name of a section for one xl2tpd into its file and the section's name there. For a
// section that is for every xl2tpd the file is empty.
func file(name string) (path, rest string) {
	if path, rest, ok := strings.Cut(name, " "); ok && filepath.IsAbs(path) {
		return path, rest
	}
	return "", name
}
