package controltrace

import (
	"encoding/binary"

	"xl2tpd-keepalive/internal/l2tp"
)

const (
	// MaxMessages is how many messages a Recorder keeps.
	MaxMessages = 64
	// Budget is how many bytes they may take together. A tunnel that is up has Hellos and acknowledgements, of which
	// 64 take less than 3 KiB. Where larger messages need more, fewer are kept.
	Budget = 4096

	leastBuffer = 256
)

// Recorder is a flight recorder: it keeps the last messages of one control connection, without secrets. The zero value
// has none. It is not safe for concurrent use.
type Recorder struct {
	buf   []byte // a ring
	start int    // where the oldest record begins
	used  int    // bytes
	count int    // records
}

// Len returns how many messages there are.
func (r *Recorder) Len() int { return r.count }

// Add keeps a message. It allocates only while the ring grows, which it does five times at most.
func (r *Recorder) Add(record *Record) {
	size := headLen + len(record.Payload)
	for r.count == MaxMessages || r.used+size > Budget {
		r.forget()
	}
	if r.used+size > len(r.buf) {
		r.grow(r.used + size)
	}
	head := record.head()
	r.write(head[:])
	if record.mayHoldSecrets() {
		var plain [maxPayload]byte
		n := copy(plain[:], record.Payload)
		l2tp.Blank(plain[:n])
		r.write(plain[:n])
	} else {
		r.write(record.Payload)
	}
	r.count++
}

// forget takes the oldest message out.
func (r *Recorder) forget() {
	size := [2]byte{r.at(payloadAt), r.at(payloadAt + 1)}
	n := headLen + int(binary.BigEndian.Uint16(size[:]))
	r.start, r.used = (r.start+n)%len(r.buf), r.used-n
	r.count--
}

// at returns a byte of the oldest message.
func (r *Recorder) at(i int) byte { return r.buf[(r.start+i)%len(r.buf)] }

func (r *Recorder) write(b []byte) {
	at := (r.start + r.used) % len(r.buf)
	n := copy(r.buf[at:], b)
	copy(r.buf, b[n:])
	r.used += len(b)
}

func (r *Recorder) grow(need int) {
	size := max(len(r.buf), leastBuffer)
	for size < need {
		size *= 2
	}
	grown := make([]byte, size)
	r.copyTo(grown)
	r.buf, r.start = grown, 0
}

func (r *Recorder) copyTo(b []byte) {
	first := r.buf[r.start:min(r.start+r.used, len(r.buf))]
	copy(b, first)
	copy(b[len(first):], r.buf[:r.used-len(first)])
}

// Records returns the messages, the oldest first.
func (r *Recorder) Records() []Record {
	b := make([]byte, r.used)
	r.copyTo(b)
	all := make([]Record, 0, r.count)
	for len(b) > 0 {
		record, rest, err := decode(b)
		if err != nil {
			break // Add writes whole records only
		}
		all, b = append(all, record), rest
	}
	return all
}
