package main

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"xl2tpd-keepalive/lab/lns/l2tp"
	"xl2tpd-keepalive/lab/personality/capture"
)

// similarCommand holds if the routers of two captures sent the same kinds of control messages at the same times, counted
// from the beginning of the tunnel. That is the first one unless another is named.
func similarCommand(ts *testscript.TestScript, neg bool, args []string) {
	args, opts := options(ts, args, "zlbs-from", "tunnel")
	usage(ts, neg, len(args) == 3, "similar FILE FILE TOLERANCE [zlbs-from=DURATION] [tunnel=N]")
	from, tunnel := time.Duration(0), 1
	if opts["tunnel"] != "" {
		n, err := strconv.Atoi(opts["tunnel"])
		ts.Check(err)
		tunnel = n
	}
	if opts["zlbs-from"] != "" {
		from = duration(ts, opts["zlbs-from"])
	}
	one, err := readTunnel(ts.MkAbs(args[0]), tunnel, from)
	ts.Check(err)
	other, err := readTunnel(ts.MkAbs(args[1]), tunnel, from)
	ts.Check(err)
	n, until, err := one.compare(other, duration(ts, args[2]))
	if err != nil {
		ts.Fatalf("similar: %v", err)
	}
	clientOf(ts).mark("%d messages of tunnel %d are the same, until %v", n, tunnel, until)
}

// times are those of each kind of message, counted from the beginning of the tunnel.
type times map[l2tp.MessageType][]time.Duration

// conversation is what both ends of a tunnel sent.
type conversation struct{ client, router times }

const forever = time.Duration(math.MaxInt64)

// readTunnel reads a file's nth tunnel, but for the router's acknowledgements before a time.
func readTunnel(name string, n int, zlbsFrom time.Duration) (c conversation, err error) {
	f, err := os.Open(name)
	if err != nil {
		return c, err
	}
	defer f.Close()
	file, err := capture.Read(name, f)
	if err != nil {
		return c, err
	}
	if n < 1 || n > len(file.Connections) {
		return c, fmt.Errorf("%s has %d tunnels", name, len(file.Connections))
	}
	tunnel := file.Connections[n-1]
	c = conversation{client: times{}, router: times{}}
	for _, p := range tunnel.Packets {
		age := p.At.Sub(tunnel.Packets[0].At).Round(time.Millisecond)
		switch {
		case p.Data, p.FromRouter && p.ZLB() && age < zlbsFrom:
		case p.FromRouter:
			c.router[p.Type()] = append(c.router[p.Type()], age)
		default:
			c.client[p.Type()] = append(c.client[p.Type()], age)
		}
	}
	return c, nil
}

// chance is from when on two runs with one router may differ. If Hellos of both ends are due together, it matters which
// comes first, and the client does not close every tunnel at the same age.
func (c conversation) chance(near time.Duration) time.Duration {
	first := forever
	for _, at := range c.client[l2tp.StopCCN] {
		first = min(first, at-near)
	}
	for _, hello := range c.client[l2tp.Hello] {
		for _, met := range c.router[l2tp.Hello] {
			if (hello - met).Abs() <= near {
				first = min(first, hello-near)
			}
		}
	}
	return first
}

// compare returns how many messages of the router are the same, and until when that can be said.
func (c conversation) compare(other conversation, tolerance time.Duration) (n int, until time.Duration, err error) {
	until = min(c.chance(tolerance), other.chance(tolerance))
	if at := c.router.differsFrom(other.router, tolerance); at < until {
		return 0, until, fmt.Errorf("from %v on they differ: %v and %v", at, c.router, other.router)
	}
	for _, all := range c.router {
		for _, at := range all {
			if at < until {
				n++
			}
		}
	}
	if n == 0 {
		return 0, until, errors.New("nothing is left to compare")
	}
	return n, until, nil
}

// differsFrom is when the first message was sent that the other did not send at that time.
func (t times) differsFrom(other times, tolerance time.Duration) time.Duration {
	first := forever
	kinds := maps.Clone(t)
	maps.Copy(kinds, other)
	for kind := range kinds {
		a, b := t[kind], other[kind]
		for i := range min(len(a), len(b)) {
			if (a[i] - b[i]).Abs() > tolerance {
				first = min(first, a[i], b[i])
			}
		}
		for _, more := range [][]time.Duration{a[min(len(a), len(b)):], b[min(len(a), len(b)):]} {
			if len(more) > 0 {
				first = min(first, more[0])
			}
		}
	}
	return first
}
