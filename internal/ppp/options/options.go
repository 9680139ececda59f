// Package options reads pppd's option files the way pppd 2.4.9 does (options.c).
//
// A file is a list of words, not of lines, with quotes, backslashes and comments from "#" on.
// `file` and `call` insert another file. Of options that contradict each other the last one holds.
package options

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Option is one option as it stands in a file.
type Option struct {
	Name, Value string // Value is empty if the option takes none
	Path        string
	Line        int // 1-based
}

const (
	peers = "/etc/ppp/peers/" // where `call NAME` looks

	maxDepth   = 16     // of files in files; pppd itself ends when it has no more descriptors
	maxOptions = 10_000 // far beyond any real file
)

// errDepth is the error for files that insert each other more than maxDepth deep.
var errDepth = errors.New("the files name each other without end")

// System lists the files that pppd reads before its command line, if they exist. Options on the
// command line, or in a file named there, come later. pppd runs as root here.
var System = []string{"/etc/ppp/options", "/root/.ppprc"}

// Of returns the options of a pppd that is started with `file PATH`, in the order in which pppd
// takes them. An error means that pppd would not start; Of then also returns the options before it.
// A word that pppd does not know is no error: a plugin may add options.
func Of(read func(path string) ([]byte, error), path string) ([]Option, error) {
	l := list{read: read}
	for _, system := range System {
		if data, err := read(system); err == nil {
			if err := l.take(system, data, 0); err != nil {
				return l.options, err
			}
		}
	}
	if path == "" {
		return l.options, nil
	}
	err := l.file(path, 0)
	return l.options, err
}

// Last returns the one of these options that takes effect: the last. ok is false if none is set.
func Last(all []Option, names ...string) (Option, bool) {
	for _, o := range slices.Backward(all) {
		if slices.Contains(names, o.Name) {
			return o, true
		}
	}
	return Option{}, false
}

// Persist returns the option that makes pppd connect again after a loss; ok is false if none does.
func Persist(all []Option) (by Option, ok bool) {
	by, ok = Last(all, "persist", "nopersist", "demand")
	return by, ok && by.Name != "nopersist"
}

// list collects the options in the order in which pppd takes them.
type list struct {
	read    func(path string) ([]byte, error)
	options []Option
}

func (l *list) file(path string, depth int) error {
	data, err := l.read(path)
	if err != nil {
		return err
	}
	return l.take(path, data, depth)
}

// take adds the options of a file's content.
func (l *list) take(path string, data []byte, depth int) error {
	r := reader{data: data}
	for {
		name, line, ok := r.word()
		if !ok {
			return nil
		}
		o := Option{Name: name, Path: path, Line: line}
		if slices.Contains(valued, name) {
			if o.Value, _, ok = r.word(); !ok {
				return fmt.Errorf("%s:%d: %s lacks its value", path, line, name)
			}
		}
		if err := l.add(o, depth); err != nil {
			return err
		}
	}
}

// add adds one option, and the options of the file that it may name.
func (l *list) add(o Option, depth int) error {
	other := o.Value
	switch o.Name {
	case "call":
		if strings.HasPrefix(other, "/") || other == "" || slices.Contains(strings.Split(other, "/"), "..") {
			return fmt.Errorf("%s:%d: `call` takes the name of a file in %s", o.Path, o.Line, peers)
		}
		other = path.Join(peers, other)
	case "file":
	default:
		l.options = append(l.options, o)
		return nil
	}
	if depth == maxDepth || len(l.options) > maxOptions {
		return fmt.Errorf("%s:%d: %w", o.Path, o.Line, errDepth)
	}
	if err := l.file(other, depth+1); err != nil {
		return fmt.Errorf("%s:%d: %w", o.Path, o.Line, err)
	}
	return nil
}

// valued are the options that take the next word as their value: those of pppd 2.4.9 and 2.5.2,
// and of the plugins that come with them.
var valued = strings.Fields(`
	+ua -as active-filter allow-ip allow-number asyncmap avpair bsdcomp bundle ca call callback
	capath cert chap-interval chap-max-challenge chap-restart chap-secrets chap-timeout
	child-timeout connect connect-delay crl crl-dir datarate
	defaultroute-metric deflate disconnect domain eap-interval eap-max-rreq eap-max-sreq
	eap-restart eap-timeout endpoint escape file holdoff host-uniq idle ifname init
	ip-down-script ip-pre-up-script ip-up-script ipcp-max-configure ipcp-max-failure
	ipcp-max-terminate ipcp-restart ipparam ipv6 ipv6-down-script ipv6-up-script
	ipv6cp-max-configure ipv6cp-max-failure ipv6cp-max-terminate ipv6cp-restart ipx-network
	ipx-node ipx-router-name ipx-routing ipxcp-max-configure ipxcp-max-failure
	ipxcp-max-terminate ipxcp-restart kdebug key lcp-echo-failure lcp-echo-interval
	lcp-max-configure lcp-max-failure lcp-max-terminate lcp-restart lcp-rtt-file linkname logfd
	logfile max-tls-version maxconnect maxfail maxoctets minconnect mo mo-direction mo-timeout
	mrru mru ms-dns ms-wins mschap-challenge mschap2-peer-challenge mtu name net-down-script
	net-init-script net-pre-up-script netmask ntlm_auth-helper pap-max-authreq pap-restart
	pap-secrets pap-timeout pass-filter password passwordfd pkcs12 plugin pppoe-ac
	pppoe-host-uniq pppoe-mac pppoe-padi-attempts pppoe-padi-timeout pppoe-service pppoe-sess
	pppoe-verbose pppol2tp pppol2tp_debug_mask pppol2tp_ifname pppol2tp_reorderto
	pppol2tp_session_id pppol2tp_tunnel_id privgroup promptprog pty qos radius-config-file
	realms-config-file record remotename remotenumber rp_pppoe_ac rp_pppoe_service rp_pppoe_sess
	rp_pppoe_verbose set socket srp-interval srp-pn-secret stop-bits tls-verify-method unit
	unset user vj-max-slots welcome
`)
