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

// savedRules looks for the guard's table in files of nftables, such as after nft list ruleset >/etc/nftables.conf. nft has
// no type for a tunnel id, so it can't read what it has written there, and refuses the whole file.
func (c *checker) savedRules() (all []Finding) {
	for _, file := range slices.Concat(c.glob("/etc/nftables.conf"), c.glob("/etc/nftables/*"), c.glob("/etc/nftables.d/*")) {
		if strings.Contains("\n"+c.read(file), "\n"+savedTable) {
			all = append(all, bad("saved nftables rules", "",
				message.Sprintf("%s has the Hello guard's table: nft refuses the whole file, and its firewall will be missing after a boot", file),
				command(fmt.Sprintf("sed -i '/^%s/,/^}/d' %s", savedTable, file))))
		}
	}
	return all
}
