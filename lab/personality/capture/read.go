// Package capture finds the control connections of L2TP in capture files.
package capture

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// File is what a capture file has of L2TP.
type File struct {
	Connections []*Connection
	Warnings    []string // one line each: the file, the packet's number, what to do
}

// Read reads a capture, pcapng or the classic pcap. Errors and warnings call it by its name.
func Read(name string, r io.Reader) (*File, error) {
	s, err := open(r)
	if err != nil {
		return nil, fmt.Errorf("%s is not a capture: %w: give a file of `tcpdump -w` or Wireshark, pcapng or pcap", name, err)
	}
	t := &table{file: name}
	for number := 1; ; number++ {
		f, err := s.next()
		switch {
		case errors.Is(err, io.EOF):
			return t.result()
		case errors.Is(err, io.ErrUnexpectedEOF):
			t.warn(number, "the file ends in the middle of it: what came before is used. Copy the file again after the capture's end")
			return t.result()
		case err != nil:
			return nil, fmt.Errorf("%s: packet %d: %w: the file is damaged, take the capture again", name, number, err)
		}
		t.frame(number, f)
	}
}

// frame is a packet as it lies in the file.
type frame struct {
	gopacket.CaptureInfo
	data []byte
	link layers.LinkType
	from string // its name, of pcapng
}

type source interface{ next() (frame, error) }

// Magic numbers at the beginning of files.
const (
	magicGzip   = "\x1f\x8b"
	magicPcapng = "\x0a\x0d\x0d\x0a"
)

func open(r io.Reader) (source, error) {
	b := bufio.NewReader(r)
	if magic, _ := b.Peek(len(magicGzip)); string(magic) == magicGzip {
		unpacked, err := gzip.NewReader(b)
		if err != nil {
			return nil, err
		}
		b = bufio.NewReader(unpacked)
	}
	if magic, _ := b.Peek(len(magicPcapng)); string(magic) == magicPcapng {
		ng, err := pcapgo.NewNgReader(b, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
		return pcapng{ng}, err
	}
	classic, err := pcapgo.NewReader(b)
	return pcap{classic}, err
}

type pcap struct{ *pcapgo.Reader }

func (p pcap) next() (frame, error) {
	data, info, err := p.ReadPacketData()
	return frame{CaptureInfo: info, data: data, link: p.LinkType()}, err
}

type pcapng struct{ *pcapgo.NgReader }

// next recovers from panics: the library does not check the lengths of options in damaged files.
func (p pcapng) next() (f frame, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	data, info, err := p.ReadPacketData()
	if err != nil {
		return frame{}, err
	}
	i, err := p.Interface(info.InterfaceIndex)
	return frame{CaptureInfo: info, data: data, link: i.LinkType, from: i.Name}, err
}
