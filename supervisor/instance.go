package supervisor

import (
	"fmt"
	"net/netip"
	"slices"

	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// instance is one xl2tpd: its process, and its configuration with indexes of the sections.
type instance struct {
	xl2tpd.Instance
	id string // see instanceID

	lacs    map[string]*xl2tpd.Section       // by name in lower case
	byOuter map[netip.Addr][]*xl2tpd.Section // LAC sections by address of their LNS
	byOpt   map[string][]*xl2tpd.Section     // all sections by pppoptfile
	groups  map[groupKey]*group              // LAC sections that share a pppoptfile
}

// instanceID returns the id of an instance in the saved state. The first one has the empty id, so the files of a host
// with one xl2tpd stay as they were.
func instanceID(i int, k xl2tpd.Key) string {
	switch {
	case i == 0:
		return ""
	case k.Pid != 0:
		return fmt.Sprintf("%s %s %d", k.Path, k.Pipe, k.Pid)
	}
	return k.Path + " " + k.Pipe
}

func newInstance(id string, is xl2tpd.Instance) *instance {
	in := &instance{
		Instance: is, id: id,
		lacs:    make(map[string]*xl2tpd.Section),
		byOuter: make(map[netip.Addr][]*xl2tpd.Section),
		byOpt:   make(map[string][]*xl2tpd.Section),
		groups:  make(map[groupKey]*group),
	}
	if is.Conf == nil {
		return in
	}
	for i := range is.Conf.Sections {
		section := &is.Conf.Sections[i]
		in.byOpt[section.PPPOptFile] = append(in.byOpt[section.PPPOptFile], section)
		if section.Kind == "lac" {
			in.lacs[xl2tpdconf.Lower(section.Name)] = section
			in.addToGroup(section, groupKey{section.PPPOptFile, false})
			if !literal(section) {
				in.addToGroup(section, groupKey{section.PPPOptFile, true})
			}
		}
		for _, ip := range section.LNSIPs {
			in.byOuter[ip] = append(in.byOuter[ip], section)
		}
	}
	return in
}

// addToGroup adds a section to the group with that key.
func (in *instance) addToGroup(section *xl2tpd.Section, a groupKey) {
	c := in.groups[a]
	if c == nil {
		c = &group{}
		in.groups[a] = c
	}
	c.sections, c.names = append(c.sections, section), append(c.names, in.name(section))
}

// name returns the name of a section of the instance.
func (in *instance) name(s *xl2tpd.Section) name { return name{s.Kind, s.Name, in.id} }

// ambiguousInstance reports whether another xl2tpd runs with the same file and pipe. Then nobody can tell which of them
// gets a command, or owns a tunnel.
func (t *topology) ambiguousInstance(in *instance) bool {
	return slices.ContainsFunc(t.instances, func(o *instance) bool {
		return o != in && o.Runs() && o.Path == in.Path && o.Pipe == in.Pipe
	})
}

// displayName returns what operators call the xl2tpd of an identity; empty: it is the only one, or not known.
func (t *topology) displayName(id identity) string {
	if !id.known {
		return ""
	}
	return t.displayNames[id.instance]
}
