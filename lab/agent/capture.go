package main

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/rogpeppe/go-internal/testscript"

	"xl2tpd-keepalive/lab/lns/l2tp"
	"xl2tpd-keepalive/lab/personality/capture"
)

// captureCommand starts or stops a capture of what passes a peer's wire.
func captureCommand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "capture NAME FILE|stop")
	p := peersOf(ts, args[:1])[0]
	if args[1] == "stop" {
		if p.capture == nil {
			ts.Fatalf("capture: there is none at %s", p.name)
		}
		end(p.capture)
		p.capture = nil
		return
	}
	file := ts.MkAbs(args[1])
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o755))
	command := p.exec(disk+"/agent", "capture", "up0", file)
	ts.Check(command.Start())
	p.capture = command.Cmd
	ts.Check(poll(10*time.Second, func() bool {
		info, err := os.Stat(file)
		return err == nil && info.Size() > 0
	}))
}

// capturePackets writes what passes an interface to a pcapng file, until a signal ends it.
func capturePackets(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: agent capture INTERFACE FILE")
	}
	handle, err := pcapgo.NewEthernetHandle(args[0])
	if err != nil {
		return err
	}
	file, err := os.Create(args[1])
	if err != nil {
		return err
	}
	w, err := pcapgo.NewNgWriter(file, layers.LinkTypeEthernet)
	for err == nil {
		if err = w.Flush(); err != nil {
			break
		}
		data, info, readErr := handle.ReadPacketData()
		if readErr != nil {
			return readErr
		}
		info.InterfaceIndex = 0 // in the file
		err = w.WritePacket(info, data)
	}
	return err
}

// similarCommand holds if the routers of two captures sent the same kinds of control messages at the same times. Times count
// from the beginning of the tunnel, which is the first one unless another is named. A kind in which the first router
// differs from its own twin is chance. Acknowledgements are chance then too: a message may carry one in place of a ZLB.
func similarCommand(ts *testscript.TestScript, neg bool, args []string) {
	args, opts := options(args)
	usage(ts, neg, len(args) == 3, "similar FILE FILE TOLERANCE [from=DURATION] [tunnel=N] [twin=FILE]")
	from, tunnel := time.Duration(0), 1
	if opts["tunnel"] != "" {
		n, err := strconv.Atoi(opts["tunnel"])
		ts.Check(err)
		tunnel = n
	}
	if opts["from"] != "" {
		from = duration(ts, opts["from"])
	}
	one, other := routerMessages(ts, args[0], tunnel, from), routerMessages(ts, args[1], tunnel, from)
	tolerance := duration(ts, args[2])
	same := func(a, b []time.Duration) bool {
		return slices.EqualFunc(a, b, func(a, b time.Duration) bool { return (a - b).Abs() <= tolerance })
	}
	if opts["twin"] != "" {
		twin := routerMessages(ts, opts["twin"], tunnel, from)
		all := maps.Clone(twin)
		maps.Copy(all, one)
		maps.DeleteFunc(all, func(kind l2tp.MessageType, _ []time.Duration) bool { return same(one[kind], twin[kind]) })
		for kind := range all {
			clientOf(ts).mark("%v is chance: %v and %v", kind, one[kind], twin[kind])
			for _, of := range []l2tp.MessageType{kind, 0} { // 0: a ZLB
				delete(one, of)
				delete(other, of)
			}
		}
	}
	if len(one) == 0 {
		ts.Fatalf("similar: nothing is left to compare")
	}
	for kind, times := range one {
		clientOf(ts).mark("%v: %d and %d, %v and %v", kind, len(times), len(other[kind]), times, other[kind])
	}
	for kind := range other {
		if one[kind] == nil {
			ts.Fatalf("similar: only %s has %v", args[1], kind)
		}
	}
	for kind, times := range one {
		if !same(times, other[kind]) {
			ts.Fatalf("similar: %v at %v and at %v", kind, times, other[kind])
		}
	}
}

// routerMessages are the times of each kind in a file's nth tunnel, but for those before a time.
func routerMessages(ts *testscript.TestScript, name string, n int, from time.Duration) map[l2tp.MessageType][]time.Duration {
	f, err := os.Open(ts.MkAbs(name))
	ts.Check(err)
	defer f.Close()
	file, err := capture.Read(name, f)
	ts.Check(err)
	if n < 1 || n > len(file.Connections) {
		ts.Fatalf("similar: %s has %d tunnels", name, len(file.Connections))
	}
	tunnel := file.Connections[n-1]
	times := map[l2tp.MessageType][]time.Duration{}
	for _, p := range tunnel.Packets {
		age := p.At.Sub(tunnel.Packets[0].At).Round(time.Millisecond)
		if p.FromRouter && !p.Data && age >= from {
			times[p.Type()] = append(times[p.Type()], age)
		}
	}
	return times
}
