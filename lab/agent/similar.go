package main

import (
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"xl2tpd-keepalive/lab/lns/l2tp"
	"xl2tpd-keepalive/lab/personality/capture"
)

// similarCommand holds if the routers of two captures sent the same kinds of control messages at the same times. Times count
// from the beginning of the tunnel, which is the first one unless another is named. From where on the first router differs
// from its own twin, chance decides, and nothing is compared.
func similarCommand(ts *testscript.TestScript, neg bool, args []string) {
	args, opts := options(args)
	usage(ts, neg, len(args) == 3, "similar FILE FILE TOLERANCE [zlbs-from=DURATION] [tunnel=N] [twin=FILE]")
	from, tunnel := time.Duration(0), 1
	if opts["tunnel"] != "" {
		n, err := strconv.Atoi(opts["tunnel"])
		ts.Check(err)
		tunnel = n
	}
	if opts["zlbs-from"] != "" {
		from = duration(ts, opts["zlbs-from"])
	}
	one, other := sentByRouter(ts, args[0], tunnel, from), sentByRouter(ts, args[1], tunnel, from)
	tolerance, until := duration(ts, args[2]), forever
	if opts["twin"] != "" {
		until = one.differsFrom(sentByRouter(ts, opts["twin"], tunnel, from), tolerance)
	}
	n, err := one.compare(other, tolerance, until)
	if err != nil {
		ts.Fatalf("similar: %v", err)
	}
	clientOf(ts).mark("%d messages of tunnel %d are the same, until %v", n, tunnel, until)
}

// sentTimes are the times of each kind of message that a router sent, counted from the beginning of the tunnel.
type sentTimes map[l2tp.MessageType][]time.Duration

const forever = time.Duration(math.MaxInt64)

// sentByRouter reads them of a file's nth tunnel, but for the acknowledgements before a time.
func sentByRouter(ts *testscript.TestScript, name string, n int, zlbsFrom time.Duration) sentTimes {
	f, err := os.Open(ts.MkAbs(name))
	ts.Check(err)
	defer f.Close()
	file, err := capture.Read(name, f)
	ts.Check(err)
	if n < 1 || n > len(file.Connections) {
		ts.Fatalf("similar: %s has %d tunnels", name, len(file.Connections))
	}
	tunnel := file.Connections[n-1]
	times := sentTimes{}
	for _, p := range tunnel.Packets {
		age := p.At.Sub(tunnel.Packets[0].At).Round(time.Millisecond)
		if p.FromRouter && !p.Data && !(p.ZLB() && age < zlbsFrom) {
			times[p.Type()] = append(times[p.Type()], age)
		}
	}
	return times
}

// differsFrom is when the first message was sent that the other router did not send at that time.
func (s sentTimes) differsFrom(other sentTimes, tolerance time.Duration) time.Duration {
	first := forever
	kinds := maps.Clone(s)
	maps.Copy(kinds, other)
	for kind := range kinds {
		a, b := s[kind], other[kind]
		for i := range max(len(a), len(b)) {
			switch {
			case i >= len(a):
				first = min(first, b[i])
			case i >= len(b):
				first = min(first, a[i])
			case (a[i] - b[i]).Abs() > tolerance:
				first = min(first, a[i], b[i])
			default:
				continue
			}
			break
		}
	}
	return first
}

// compare returns an error if the other router differs before a time, and how many messages came before it.
func (s sentTimes) compare(other sentTimes, tolerance, until time.Duration) (n int, err error) {
	for _, times := range s {
		n += len(slices.DeleteFunc(slices.Clone(times), func(at time.Duration) bool { return at >= until }))
	}
	if n == 0 {
		return 0, fmt.Errorf("nothing is left to compare")
	}
	if at := s.differsFrom(other, tolerance); at < until-min(tolerance, until) {
		return n, fmt.Errorf("at %v the copy differs: %v and %v", at, s, other)
	}
	return n, nil
}
