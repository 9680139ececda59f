// Package vici watches strongSwan's security associations, and brings them up and
// down, through charon's control socket.
package vici

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	govici "github.com/strongswan/govici/vici"
)

// Snapshot is every IKE SA that charon has now, in charon's order.
type Snapshot struct {
	SAs []SA
}

// SA is an IKE SA. Fields that charon does not report, or reports in an unknown
// form, are zero.
type SA struct {
	Name                string // the connection in swanctl.conf
	UniqueID            string // changes with each new SA, also by rekeying
	State               string // ESTABLISHED, CONNECTING, DELETING, …
	Initiator           bool   // this side began it
	RemoteHost          netip.AddrPort
	Established         time.Duration // age, in whole seconds
	NATLocal, NATRemote bool          // this end, or the far end, is behind a NAT
	Children            []Child
}

// Child is a CHILD SA: a pair of ESP SAs.
type Child struct {
	Name              string   // in swanctl.conf
	State             string   // INSTALLED, REKEYED, DELETING, …
	Mode              string   // TRANSPORT, TUNNEL, …
	Encap             bool     // ESP in UDP
	RouteBased        bool     // takes only packets with a mark or from an XFRM interface
	LocalTS, RemoteTS []string // traffic selectors, as 192.0.2.1/32[udp/l2f]
	Cipher, Integrity string   // of ESP, as AES_CBC and HMAC_SHA2_256_128; Integrity is empty if the cipher has its own
}

// Works reports whether the CHILD SA carries packets. A CHILD SA that is being rekeyed
// carries packets until its successor is installed.
func (c Child) Works() bool {
	return c.State == "INSTALLED" || c.State == "REKEYED" || c.State == "REKEYING"
}

// stable reports whether no SA is coming or going. A rekeyed SA counts as stable:
// in IKEv1 it stays beside its successor until its lifetime ends.
func (s Snapshot) stable() bool {
	for _, sa := range s.SAs {
		if sa.State != "ESTABLISHED" && sa.State != "REKEYED" {
			return false
		}
		for _, child := range sa.Children {
			if child.State != "INSTALLED" && child.State != "REKEYED" {
				return false
			}
		}
	}
	return true
}

// parse reads one list-sa message: a section for each IKE SA, named as its
// connection. It accepts any message and ignores unknown parts.
func parse(m *govici.Message) []SA {
	var sas []SA
	for name, s := range sections(m) {
		sa := SA{
			Name:        name,
			UniqueID:    text(s, "uniqueid"),
			State:       text(s, "state"),
			Initiator:   text(s, "initiator") == "yes",
			RemoteHost:  host(s, "remote-host", "remote-port"),
			Established: seconds(s, "established"),
			NATLocal:    text(s, "nat-local") == "yes",
			NATRemote:   text(s, "nat-remote") == "yes",
		}
		children, _ := s.Get("child-sas").(*govici.Message)
		for key, c := range sections(children) {
			child := Child{
				Name:       text(c, "name"),
				State:      text(c, "state"),
				Mode:       text(c, "mode"),
				Encap:      text(c, "encap") == "yes",
				RouteBased: strings.Trim(text(c, "if-id-out")+text(c, "mark-out"), "0") != "",
				LocalTS:    list(c, "local-ts"),
				RemoteTS:   list(c, "remote-ts"),
				Cipher:     text(c, "encr-alg"),
				Integrity:  text(c, "integ-alg"),
			}
			if child.Name == "" {
				child.Name = key
			}
			sa.Children = append(sa.Children, child)
		}
		sas = append(sas, sa)
	}
	return sas
}

// sections iterates over the named sections of m, which may be nil.
func sections(m *govici.Message) func(yield func(string, *govici.Message) bool) {
	return func(yield func(string, *govici.Message) bool) {
		if m == nil {
			return
		}
		for _, key := range m.Keys() {
			if s, ok := m.Get(key).(*govici.Message); ok && !yield(key, s) {
				return
			}
		}
	}
}

func text(m *govici.Message, key string) string {
	s, _ := m.Get(key).(string)
	return s
}

func list(m *govici.Message, key string) []string {
	l, _ := m.Get(key).([]string)
	return l
}

func seconds(m *govici.Message, key string) time.Duration {
	n, err := strconv.ParseInt(text(m, key), 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(n) * time.Second
}

// host returns an end's address and port; zero: not known yet ("%any").
func host(m *govici.Message, addr, port string) netip.AddrPort {
	a, err := netip.ParseAddr(text(m, addr))
	if err != nil {
		return netip.AddrPort{}
	}
	p, err := strconv.ParseUint(text(m, port), 10, 16)
	if err != nil {
		p = 0
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(p))
}
