package doctor

import (
	"fmt"
	"slices"
	"strings"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/message"
)

// savedTable is how nft list ruleset writes the guard's table.
const savedTable = "table ip " + helloguard.TableName

// untyped is how an nft writes the guard's sets that does not know what makes their keys: that of Debian 11. Others write typeof.
const untyped = "\n\t\ttype ipv4_addr . ipv4_addr . mark"

// savedRules looks for the guard's table in files of nftables, such as after nft list ruleset >/etc/nftables.conf. Debian 11's
// nft can't load what it has written there, and refuses the whole file.
func (c *checker) savedRules() (all []Finding) {
	for _, file := range slices.Concat(c.glob("/etc/nftables.conf"), c.glob("/etc/nftables/*"), c.glob("/etc/nftables.d/*")) {
		_, table, _ := strings.Cut("\n"+c.read(file), "\n"+savedTable)
		if table, _, _ = strings.Cut(table, "\n}"); strings.Contains(table, untyped) {
			all = append(all, bad("saved nftables rules", "",
				message.Sprintf("%s has the Hello guard's table: nft refuses the whole file, and its firewall will be missing after a boot", file),
				command(fmt.Sprintf("sed -i '/^%s/,/^}/d' %s", savedTable, file))))
		}
	}
	return all
}
