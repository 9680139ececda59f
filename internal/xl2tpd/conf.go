// Package xl2tpd watches every xl2tpd of the network namespace.
//
// It watches their processes, their configuration files, and the kernel's table of
// L2TP sessions, which maps each pppN to its tunnel. Control makes an xl2tpd dial
// and hang up.
package xl2tpd

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// xl2tpd's defaults.
const (
	DefaultMaxRetries = 5
	defaultRedial     = 30 * time.Second
)

// Conf is the content of an xl2tpd.conf, with xl2tpd's defaults filled in. It is
// never changed once delivered. xl2tpd reads the file at its start only, so a
// running xl2tpd may still use an older content.
type Conf struct {
	Path           string
	Port           uint16     // UDP port xl2tpd listens on; 0: any that is free
	ListenAddr     netip.Addr // 0.0.0.0: all; invalid: the file gives a host name
	ForceUserspace bool       // no kernel mode: data goes through xl2tpd and a pty
	Saref          bool       // `ipsec saref` is there, whatever its value
	SarefLine      int        // line of the `ipsec saref` that forces userspace mode, see SarefForces; 0: none
	MaxRetries     int        // retransmissions of a control message before the tunnel is closed
	AccessControl  bool       // xl2tpd refuses callers that no LNS section admits
	Sections       []Section  // in the file's order; [lac default] is folded into the others
	Unknown        []Unknown  // keys that no xl2tpd up to 1.3.20 has
}

// Section is one LAC (this host dials) or LNS (this host is dialled). Sections
// of the same name are one, as in xl2tpd.
type Section struct {
	Kind       string // "lac" or "lns"
	Name       string // as written; "default" for [lns default], "" for a header without a name
	Line       int    // line of its first header
	PPPOptFile string // pppd's `file` argument

	// LAC only.
	LNS           []string      // hosts of `lns =`; xl2tpd dials only the first
	LNSLine       int           // line of the first
	LNSPort       uint16        // port of the first
	LNSIPs        []netip.Addr  // IPv4 addresses of the first, newest answer first; empty until resolved
	Unresolved    bool          // the latest lookup of the first failed; LNSIPs are from earlier ones, if any
	Autodial      bool          // dialled when xl2tpd starts
	Redial        bool          // xl2tpd itself dials again after a loss
	RedialTimeout time.Duration // pause before that
	MaxRedials    int           // then xl2tpd gives up; 0: never

	// LNS only.
	IPRanges []Range // addresses given to the callers' links
	Callers  []Range // outer addresses of the callers that it admits
}

// Range is one `ip range`, `no ip range`, `lac` or `no lac`, both ends included.
// Ranges given by host name are left out: xl2tpd resolves them once, at start.
type Range struct {
	From, To netip.Addr
	Deny     bool
}

// Admits reports whether these ranges contain an address. Of several that contain it, the last one decides.
func Admits(all []Range, a netip.Addr) (is bool) {
	for _, r := range all {
		if !a.Less(r.From) && !r.To.Less(a) {
			is = !r.Deny
		}
	}
	return is
}

// LNSFor returns the LNS section that xl2tpd takes for a caller with this outer
// address (aaa.c, get_lns), or nil: later sections first, then the default one.
func (c *Conf) LNSFor(caller netip.Addr) *Section {
	caller = caller.Unmap()
	var fallback *Section
	for i := range slices.Backward(c.Sections) {
		switch s := &c.Sections[i]; {
		case s.Kind != "lns":
		case s.Name == "default":
			fallback = s
		case Admits(s.Callers, caller):
			return s
		}
	}
	if fallback != nil && c.AccessControl && !Admits(fallback.Callers, caller) {
		return nil
	}
	return fallback
}

// ParseConf reads the content of an xl2tpd.conf. The error is a *xl2tpdconf.Error:
// xl2tpd itself would refuse the file, see keyFault.
func ParseConf(path string, data []byte) (*Conf, error) {
	f, err := xl2tpdconf.Parse(path, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	c := &Conf{
		Path:       path,
		Port:       l2tp.Port,
		ListenAddr: netip.IPv4Unspecified(),
		MaxRetries: DefaultMaxRetries,
	}
	var lacDefault Section
	seen := locals{}
	for _, in := range f.Sections {
		var s *Section
		if in.Kind == "lac" && in.Name == "default" {
			s = &lacDefault
		} else if in.Kind != "global" {
			s = c.section(in)
		}
		for _, k := range in.Keys {
			if msg := cmp.Or(c.set(in.Kind, s, k), seen.fault(in, k)); msg != "" {
				return nil, &xl2tpdconf.Error{Path: path, Line: k.Line, Msg: msg}
			}
		}
	}
	for i := range c.Sections {
		// The only key that xl2tpd takes from [lac default] for the other sections.
		if s := &c.Sections[i]; s.Kind == "lac" && len(s.LNS) == 0 {
			s.LNS, s.LNSLine, s.LNSPort = lacDefault.LNS, lacDefault.LNSLine, lacDefault.LNSPort
		}
	}
	return c, nil
}

// section returns the section that a header opens, and adds it if it is new.
func (c *Conf) section(in xl2tpdconf.Section) *Section {
	for i := range c.Sections {
		if s := &c.Sections[i]; in.Name != "" && s.Kind == in.Kind && xl2tpdconf.SameName(s.Name, in.Name) {
			s.Name = in.Name // the last spelling is the one xl2tpd logs
			return s
		}
	}
	s := Section{Kind: in.Kind, Name: in.Name, Line: in.Line}
	if s.Kind == "lac" {
		s.RedialTimeout = defaultRedial
	}
	c.Sections = append(c.Sections, s)
	return &c.Sections[len(c.Sections)-1]
}

// set applies one key; s is nil in [global]. It returns what is wrong, or "".
func (c *Conf) set(kind string, s *Section, k xl2tpdconf.Key) message.Text {
	if msg := keyFault(kind, k); msg != "" {
		return msg
	}
	if _, ok := keyRules[k.Name]; !ok {
		c.Unknown = append(c.Unknown, Unknown{Name: k.Name, Line: k.Line})
	}
	if s == nil {
		c.setGlobal(k)
		return ""
	}
	return s.set(k)
}

// setGlobal applies a key of [global].
func (c *Conf) setGlobal(k xl2tpdconf.Key) {
	switch k.Name {
	case "port":
		if n := atoi(k.Value); n >= 0 { // xl2tpd ignores a negative one
			c.Port = uint16(n)
		}
	case "listen-addr":
		c.ListenAddr, _ = ParseAddr(k.Value)
	case "force userspace":
		c.ForceUserspace = isYes(k)
		c.SarefLine = 0 // this is the last word, for now
	case "access control":
		c.AccessControl = isYes(k)
	case "ipsec saref":
		c.setSaref(k)
	case "max retries":
		if n := atoi(k.Value); n >= 0 {
			c.MaxRetries = n
		}
	}
}

// set applies a key of a section. It returns what is wrong, or "".
func (s *Section) set(k xl2tpdconf.Key) (msg message.Text) {
	switch k.Name {
	case "lns":
		s.addLNS(k)
	case "autodial":
		s.Autodial = isYes(k)
	case "redial":
		s.Redial = isYes(k)
	case "redial timeout":
		s.RedialTimeout = time.Duration(atoi(k.Value)) * time.Second
	case "max redials":
		s.MaxRedials = atoi(k.Value)
	case "pppoptfile":
		s.PPPOptFile = k.Value
	case "ip range", "no ip range":
		s.IPRanges, msg = addRange(s.IPRanges, k)
	case "local ip range":
		_, msg = addRange(nil, k)
	case "lac", "no lac":
		s.Callers, msg = addRange(s.Callers, k)
	}
	return msg
}

// addLNS adds one LNS of a LAC. The first one has the port.
func (s *Section) addLNS(k xl2tpdconf.Key) {
	host, port, found := strings.Cut(k.Value, ":")
	if len(s.LNS) == 0 {
		s.LNSLine = k.Line
		if s.LNSPort = l2tp.Port; found {
			s.LNSPort = uint16(atoi(port))
		}
	}
	s.LNS = append(s.LNS, host) // a blank before the colon is part of it
}

// setSaref reads `ipsec saref` (file.c, set_ipsec_saref).
func (c *Conf) setSaref(k xl2tpdconf.Key) {
	c.Saref = true
	if !c.ForceUserspace || c.SarefLine != 0 { // else userspace mode is wanted anyway
		c.SarefLine = k.Line
	}
	c.ForceUserspace = c.ForceUserspace || isYes(k)
}

func isYes(k xl2tpdconf.Key) bool {
	yes, _ := xl2tpdconf.Bool(k.Value) // else refused before
	return yes
}

// addRange reads "A", "A - B" or "A - B's last one to three numbers". An end
// that is no address is a host name, and the range is left out.
func addRange(to []Range, k xl2tpdconf.Key) ([]Range, message.Text) {
	first, last, isRange := strings.Cut(k.Value, "-")
	first, last = strings.TrimSpace(first), strings.TrimSpace(last)
	named := strings.ContainsFunc(first+last, func(r rune) bool { return r > '9' })
	if !isRange {
		last = first
	} else if missing := 3 - strings.Count(last, "."); missing > 0 && last != "" && !named {
		if parts := strings.SplitN(first, ".", 4); len(parts) == 4 {
			last = strings.Join(parts[:missing], ".") + "." + last
		}
	}
	switch {
	case !mayBeHost(first) || !mayBeHost(last):
		return to, badValue(k, "must be 'address' or 'address - address', with nothing behind it")
	case named:
		return to, ""
	}
	r := Range{Deny: strings.HasPrefix(k.Name, "no ")}
	r.From, _ = ParseAddr(first)
	r.To, _ = ParseAddr(last)
	if r.To.Less(r.From) {
		return to, badValue(k, "its start lies behind its end")
	}
	return append(to, r), ""
}

// atoi reads a number as C's atoi does: leading white space, a sign, digits; anything
// else ends the number. The result stays within 32 bits.
func atoi(s string) int {
	s = strings.TrimLeft(s, " \t\r\v\f")
	neg := strings.HasPrefix(s, "-")
	if neg || strings.HasPrefix(s, "+") {
		s = s[1:]
	}
	var n int64
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			break
		}
		if n = n*10 + int64(c-'0'); n > 1<<31-1 {
			n = 1<<31 - 1
		}
	}
	if neg {
		n = -n
	}
	return int(n)
}
