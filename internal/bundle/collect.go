package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/config"
	"xl2tpd-keepalive/internal/doctor"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
)

// state adds what this program knows.
func (c *collector) state() {
	c.add("version.txt", c.Version+"\n")
	if c.StatusErr != nil {
		c.leave("status: %v", c.StatusErr)
	} else {
		c.addJSON("status.json", c.Status)
		var text bytes.Buffer
		_ = status.Text(&text, c.Status, false, nil) // a buffer takes all
		c.add("status.txt", text.String())
	}
	c.addJSON("doctor.json", c.Findings)
	var text bytes.Buffer
	_ = doctor.Text(&text, c.Findings, false, nil)
	c.add("doctor.txt", text.String()+doctor.Summary(c.Findings, nil)+"\n")
}

func (c *collector) addJSON(name string, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		c.leave("%s: %v", name, err)
		return
	}
	c.add(name, string(text)+"\n")
}

// commandTime is how long one program may take.
const commandTime = 10 * time.Second

// journalLines is how much of the journal is taken: at usual log levels some days.
const journalLines = "2000"

// commands are the programs with output that goes into the bundle. None of them prints keys: `ip xfrm state` would.
var commands = []struct{ file, line string }{
	{"links.txt", "ip -s -d link show"},
	{"links.txt", "ip address show"},
	{"routes.txt", "ip rule show"},
	{"routes.txt", "ip route show table all"},
	{"ipsec.txt", "swanctl --list-conns"},
	{"ipsec.txt", "swanctl --list-sas"},
	{"ipsec.txt", "ip xfrm policy"},
	{"nftables.txt", "nft list table ip xl2tpd_keepalive"},
	{"host.txt", "uname -srvm"},
	{"host.txt", "dpkg-query -W xl2tpd ppp strongswan strongswan-swanctl charon-systemd strongswan-starter libreswan " +
		"network-manager-l2tp nftables iptables xl2tpd-keepalive"},
	{"journal.txt", journalctl + " --lines=" + journalLines + daemons},
	// A tunnel that is down every minute fills those in an hour, and people want to know since when.
	{endsFile, journalctl + " --since=-30d --grep=" + endWords + daemons},
}

const (
	journalctl = "journalctl --quiet --no-pager --output=short-iso-precise"
	daemons    = " _COMM=xl2tpd + SYSLOG_IDENTIFIER=xl2tpd + _COMM=pppd + SYSLOG_IDENTIFIER=pppd + SYSLOG_IDENTIFIER=charon" +
		" + SYSLOG_IDENTIFIER=charon-systemd + SYSLOG_IDENTIFIER=ipsec + SYSLOG_IDENTIFIER=xl2tpd-keepalive" +
		" + _SYSTEMD_UNIT=xl2tpd-keepalive.service + _SYSTEMD_UNIT=NetworkManager.service"
)

// host adds what the host's own programs print.
func (c *collector) host() {
	if text, err := c.read("/etc/os-release"); err == nil {
		c.add("os-release.txt", text)
	}
	texts := map[string]string{}
	var order []string
	for _, command := range commands {
		words := strings.Fields(command.line)
		ctx, cancel := context.WithTimeout(c.ctx, commandTime)
		out, err := c.Run(ctx, words[0], words[1:]...)
		late := err != nil && ctx.Err() != nil
		cancel()
		if late {
			err = fmt.Errorf("not done after %v", commandTime)
		}
		switch {
		case err != nil && len(out) == 0 && command.file == endsFile && !late:
			continue // it has found nothing, or there is no journal, which the command before has said
		case err != nil && len(out) == 0:
			c.leave("%s: %v", command.line, err)
			continue
		case err != nil:
			out = fmt.Appendf(out, "(%v)\n", err)
		case len(out) == 0:
			continue
		}
		if texts[command.file] == "" {
			order = append(order, command.file)
		}
		texts[command.file] += "$ " + command.line + "\n" + string(out) + "\n"
	}
	for _, file := range order {
		c.add(file, texts[file])
	}
}

// configuration adds the configuration files, each redacted by its own format.
func (c *collector) configuration() {
	take := func(redact redactor, names ...string) {
		for _, name := range names {
			if name == "" || c.taken[name] {
				continue
			}
			c.taken[name] = true
			text, err := c.read(name)
			if err != nil {
				if !strings.Contains(err.Error(), "no such file") {
					c.leave("%s: %v", name, err)
				}
				continue
			}
			c.sources = append(c.sources, text)
			c.add("config"+name, redact(text))
		}
	}
	take(xl2tpdConf, config.DefaultPath, xl2tpd.DefaultConfPath, xl2tpd.OldConfPath)
	take(pppOptions, append([]string{"/etc/ppp/options"}, c.glob("/etc/ppp/options.*")...)...)
	for _, i := range c.Instances {
		take(xl2tpdConf, i.Path)
		if i.Conf == nil {
			continue
		}
		for _, s := range i.Conf.Sections {
			take(pppOptions, s.PPPOptFile)
		}
	}
	take(pppOptions, c.glob("/etc/ppp/peers/*")...)
	take(ipsecConf, append([]string{"/etc/ipsec.conf"}, c.glob("/etc/ipsec.d/*.conf")...)...)
	take(swanctl, append([]string{"/etc/swanctl/swanctl.conf", "/etc/strongswan.conf"},
		slices.Concat(c.glob("/etc/swanctl/conf.d/*.conf"), c.glob("/etc/strongswan.d/*.conf"), c.glob("/etc/strongswan.d/charon/*.conf"))...)...)
	for _, name := range slices.Sorted(maps.Keys(c.taken)) {
		c.follow(name)
	}
}

var (
	// including is how files of strongSwan, Libreswan and pppd name others.
	including = regexp.MustCompile(`(?m)^\s*(?:include|file)\s+"?([^"\s#]+)`)
	// secretIn is the third word of a line of chap-secrets that names a file with the secret.
	secretIn = regexp.MustCompile(`(?m)^\s*[^\s#]+\s+\S+\s+"?@([^"\s#]+)`)
)

// others returns the files that a file names.
func (c *collector) others(pattern *regexp.Regexp, name, text string) (names []string) {
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		path := m[1]
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(name), path)
		}
		names = append(names, c.glob(path)...)
	}
	return names
}

// follow reads the files that a configuration file includes from elsewhere, to know the secrets in them. They are not in
// the bundle.
func (c *collector) follow(name string) {
	text, err := c.read(name)
	if err != nil {
		return // take has said so
	}
	for _, other := range c.others(including, name, text) {
		if c.taken[other] {
			continue
		}
		c.taken[other] = true
		text, err := c.read(other)
		if err != nil {
			c.leave("%s: %v", other, err)
			continue
		}
		c.sources = append(c.sources, text)
		c.leave("%s: included from elsewhere", other)
		c.follow(other)
	}
}

// secretFiles hold nothing but secrets. They are read only to look for what they have in all other files.
var secretFiles = []string{
	"/etc/ppp/chap-secrets", "/etc/ppp/pap-secrets", "/etc/ppp/srp-secrets", "/etc/ppp/eaptls-client",
	"/etc/xl2tpd/l2tp-secrets", "/etc/l2tp/l2tp-secrets", "/etc/ipsec.secrets", "/etc/ipsec.d/*.secrets", "/var/lib/strongswan/ipsec.secrets.inc",
	"/etc/NetworkManager/system-connections/*", "/run/nm-l2tp-*/ipsec.nm-l2tp.secrets",
}

// keyFolders hold private keys. They are not read.
var keyFolders = []string{
	"/etc/ipsec.d/private", "/etc/swanctl/private", "/etc/swanctl/rsa", "/etc/swanctl/ecdsa", "/etc/swanctl/pkcs8",
	"/etc/swanctl/pkcs12",
}

var authFile = regexp.MustCompile(`(?m)^\s*auth file\s*=\s*([^;\s]+)`)

// secrets reads the files of secrets, and names them as left out.
func (c *collector) secrets() {
	names := slices.Clone(secretFiles)
	for _, text := range c.sources {
		for _, m := range authFile.FindAllStringSubmatch(text, -1) {
			names = append(names, m[1])
		}
	}
	for _, pattern := range names {
		for _, name := range c.glob(pattern) {
			c.hide(name)
		}
	}
	for _, folder := range keyFolders {
		if n := len(c.glob(folder + "/*")); n > 0 {
			c.leave("%s: private keys, %d files", folder, n)
		}
	}
	c.leave("comments, passwords and unknown settings of the configuration files")
	c.leave("`ip xfrm state`, which prints keys")
}

// hide reads a file of secrets, and those that it names.
func (c *collector) hide(name string) {
	if c.asSecret[name] {
		return
	}
	c.asSecret[name] = true
	text, err := c.read(name)
	if err != nil {
		c.leave("%s: a file of secrets; %v", name, err)
		return
	}
	c.hidden = append(c.hidden, text)
	c.leave("%s: a file of secrets", name)
	for _, other := range c.others(including, name, text) {
		c.hide(other)
	}
	for _, other := range c.others(secretIn, name, text) {
		if text, err := c.read(other); err == nil {
			c.hidden = append(c.hidden, "* * "+text) // pppd takes the first word (auth.c, scan_authfile)
			c.leave("%s: a file of secrets", other)
		}
	}
}

// namesIn are settings with values that name a person, a host or a connection.
var namesIn = regexp.MustCompile(`(?m)^\s*(?:conn|name|hostname|user|remotename|ipparam|leftid|rightid|id|eap_id|eap_identity|` +
	`xauth_id|lns)\s*[=\s]\s*"?@?([^"\s:;#]+)`)

// allNames returns the names that an anonymous bundle hides.
func (c *collector) allNames() (names []string) {
	names = append(names, c.Hostname)
	names = append(names, c.Names...)
	short, _, _ := strings.Cut(c.Hostname, ".")
	names = append(names, short)
	for _, i := range c.Instances {
		names = append(names, i.Connection, i.Name)
		if i.Conf == nil {
			continue
		}
		for _, s := range i.Conf.Sections {
			names = append(names, s.Name)
			names = append(names, s.LNS...)
		}
	}
	for _, t := range c.Status.Tunnels {
		_, section, _ := strings.Cut(t.Name, " ")
		names = append(names, section)
		if t.SA != nil {
			names = append(names, t.SA.Name)
		}
	}
	for _, text := range c.sources {
		for _, m := range namesIn.FindAllStringSubmatch(text, -1) {
			names = append(names, m[1])
		}
	}
	for _, text := range c.hidden {
		for line := range strings.Lines(text) {
			if words := strings.Fields(line); len(words) >= 3 && !strings.HasPrefix(words[0], "#") {
				names = append(names, strings.Trim(words[0], `"@:`), strings.Trim(words[1], `"@:`))
			}
		}
	}
	return names
}

// readme says which router, which cause and since when, and what is in the bundle.
func (c *collector) readme() string {
	var b strings.Builder
	fmt.Fprintf(&b, "A report of xl2tpd-keepalive, %s, made at %s.\n\n", c.Version, c.Now.Format(time.RFC3339))
	for _, t := range c.Status.Tunnels {
		fmt.Fprintf(&b, "%s: %s", t.Name, t.State)
		if !t.Since.IsZero() {
			fmt.Fprintf(&b, " since %s", t.Since.Format(time.RFC3339))
		}
		address := "of an unknown address"
		if t.Peer.IsValid() {
			address = t.Peer.String()
		}
		fmt.Fprintf(&b, "\n  router: %s, %s", address, c.vendor(&t))
		if l := t.Last; l != nil {
			after := time.Duration(l.After).Round(time.Second)
			fmt.Fprintf(&b, "\n  ended last at %s, after %v: %s", l.Time.Format(time.RFC3339), after, l.Reason)
		}
		b.WriteString("\n")
	}
	if c.StatusErr != nil {
		fmt.Fprintf(&b, "The service does not say which tunnels there are: %v\n", c.StatusErr)
	}
	b.WriteString(endsText(c.scrub.clean(c.text(endsFile)))) // before its numbers go: a secret may have some
	b.WriteString("\nWhat doctor has found:\n")
	_ = doctor.Text(&b, doctor.Problems(c.Findings), false, nil)
	b.WriteString(doctor.Summary(c.Findings, nil) + "\n\nIn this report:\n")
	for _, f := range c.Files {
		b.WriteString("  " + f.Name + "\n")
	}
	b.WriteString("\nLeft out:\n")
	for _, left := range c.Left {
		b.WriteString("  " + left.String() + "\n")
	}
	return b.String()
}

// vendor returns what the far end calls itself. After a drop only the flight recorder may know that.
func (c *collector) vendor(t *status.Tunnel) string {
	if t.Vendor != "" {
		return t.Vendor
	}
	for _, k := range slices.Backward(c.Recordings) {
		if k.Vendor != "" && k.Connection.Peer.Addr() == t.Peer {
			return status.Printable(k.Vendor)
		}
	}
	return "of an unknown vendor (`xl2tpd-keepalive trace --kernel` shows it while the tunnel is dialled)"
}
