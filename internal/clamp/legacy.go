package clamp

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// legacyTables lists the tables of the older iptables that the kernel has. The file exists only with its module.
const legacyTables = "/proc/net/ip_tables_names"

// legacy returns the chains of the older iptables; none if the kernel has no table of it.
func legacy(ctx context.Context) ([]ruleset, error) {
	names, err := os.ReadFile(legacyTables)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(strings.Fields(string(names))) == 0 {
		return nil, nil
	}
	text, err := exec.CommandContext(ctx, "iptables-legacy-save").Output()
	if err != nil {
		return nil, fmt.Errorf("iptables-legacy-save: %w", err)
	}
	return saved(string(text)), nil
}

// saved reads what iptables-save prints.
func saved(text string) (all []ruleset) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case strings.HasPrefix(words[0], "*"):
			all = append(all, ruleset{
				table: "iptables -t " + words[0][1:], chains: map[string][]rule{}, bases: []string{"FORWARD", "POSTROUTING"},
			})
		case words[0] == "-A" && len(words) > 1 && len(all) > 0:
			chains := all[len(all)-1].chains
			chains[words[1]] = append(chains[words[1]], savedRule(words[2:]))
		}
	}
	return all
}

// harmless are conditions of a rule that do not leave out any connection.
var harmless = []string{
	"-p", "-m", "--tcp-flags", "--comment", "--mss", "-i", "-o", "-j", "-g", "--set-mss", "--clamp-mss-to-pmtu",
}

// savedRule reads the words of one rule.
func savedRule(words []string) (r rule) {
	for i, word := range words {
		value := ""
		if i+1 < len(words) {
			value = words[i+1]
		}
		named := device{name: strings.Replace(value, "+", "*", 1), except: i > 0 && words[i-1] == "!"}
		switch word {
		case "-i":
			r.in = named
		case "-o":
			r.out = named
		case "-j", "-g":
			if r.clamps = value == "TCPMSS"; !r.clamps {
				r.jump = value
			}
		case "--set-mss":
			r.mss, _ = strconv.Atoi(value)
		}
		r.limited = r.limited || strings.HasPrefix(word, "-") && !slices.Contains(harmless, word)
	}
	return r
}
