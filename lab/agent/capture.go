package main

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/rogpeppe/go-internal/testscript"
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
