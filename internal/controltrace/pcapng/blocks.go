package pcapng

import (
	"bufio"
	"encoding/binary"
	"io"
	"time"
)

// Blocks and options of a pcapng file (draft-ietf-opsawg-pcapng, sections 3.5, 4.1, 4.2 and 4.3). gopacket writes them
// too, but has tables of 5 MB full of pointers. Each garbage collection of the service would read them, and its heap might
// grow by as much (runtime/mgcpacer.go). Where the kernel always gives huge pages, they would be resident, too.
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockPacket    = 6

	byteOrderMagic = 0x1a2b3c4d
	linkTypeRaw    = 101 // each packet begins with its IP header
	nanoseconds    = 9   // if_tsresol: times are in units of 10^-9 s

	optionEnd         = 0
	optionComment     = 1
	optionName        = 2 // if_name
	optionDescription = 3 // if_description
	optionApplication = 4 // shb_userappl
	optionResolution  = 9 // if_tsresol
)

// byteOrder is the byte order of the files. A reader learns it from byteOrderMagic.
var byteOrder = binary.LittleEndian

type option struct {
	code  uint16
	value string
}

// blockWriter writes the blocks of a file. The first error stays, and flush returns it.
type blockWriter struct {
	to    *bufio.Writer
	block []byte // under way
}

func newBlockWriter(w io.Writer, application string) *blockWriter {
	b := &blockWriter{to: bufio.NewWriter(w)}
	b.begin(blockSection)
	b.block = byteOrder.AppendUint32(b.block, byteOrderMagic)
	b.block = byteOrder.AppendUint16(b.block, 1) // version 1.0
	b.block = byteOrder.AppendUint16(b.block, 0)
	b.block = byteOrder.AppendUint64(b.block, ^uint64(0)) // the section's length is not known
	b.end(option{optionApplication, application})
	return b
}

// addInterface adds an interface. The first one has the number 0.
func (b *blockWriter) addInterface(name, description string) {
	b.begin(blockInterface)
	b.block = byteOrder.AppendUint16(b.block, linkTypeRaw)
	b.block = byteOrder.AppendUint16(b.block, 0) // reserved
	b.block = byteOrder.AppendUint32(b.block, 0) // packets may have any length
	b.end(option{optionName, name}, option{optionDescription, description}, option{optionResolution, string([]byte{nanoseconds})})
}

// packet adds a packet. length is that of the whole packet: data may be only its beginning.
func (b *blockWriter) packet(iface int, at time.Time, data []byte, length int, comments []string) {
	ns := uint64(at.UnixNano())
	b.begin(blockPacket)
	for _, field := range []uint32{uint32(iface), uint32(ns >> 32), uint32(ns), uint32(len(data)), uint32(length)} {
		b.block = byteOrder.AppendUint32(b.block, field)
	}
	b.block = pad(append(b.block, data...))
	var options []option
	for _, c := range comments {
		options = append(options, option{optionComment, c})
	}
	b.end(options...)
}

// begin begins a block. end fills its length in.
func (b *blockWriter) begin(kind uint32) {
	b.block = byteOrder.AppendUint32(b.block[:0], kind)
	b.block = byteOrder.AppendUint32(b.block, 0)
}

// end adds the options of a block, and its length, which stands at both ends. Then it writes the block.
func (b *blockWriter) end(options ...option) {
	for _, o := range append(options, option{optionEnd, ""}) {
		b.block = byteOrder.AppendUint16(b.block, o.code)
		b.block = byteOrder.AppendUint16(b.block, uint16(len(o.value)))
		b.block = pad(append(b.block, o.value...))
	}
	length := uint32(len(b.block) + 4)
	b.block = byteOrder.AppendUint32(b.block, length)
	byteOrder.PutUint32(b.block[4:], length)
	_, _ = b.to.Write(b.block) // flush returns the error
}

func (b *blockWriter) flush() error { return b.to.Flush() }

// pad adds zeros up to a multiple of four bytes.
func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
