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
func (k *Recorder) Len() int { return k.count }

// Add keeps a message. It allocates only while the ring grows, which it does five times at most.
func (k *Recorder) Add(r *Record) {
	size := headLen + len(r.Payload)
	for k.count == MaxMessages || k.used+size > Budget {
		k.forget()
	}
	if k.used+size > len(k.buf) {
		k.grow(k.used + size)
	}
	head := r.head()
	k.write(head[:])
	if r.mayHoldSecrets() {
		var plain [maxPayload]byte
		n := copy(plain[:], r.Payload)
		l2tp.Blank(plain[:n])
		k.write(plain[:n])
	} else {
		k.write(r.Payload)
	}
	k.count++
}

// forget takes the oldest message out.
func (k *Recorder) forget() {
	size := [2]byte{k.at(payloadAt), k.at(payloadAt + 1)}
	n := headLen + int(binary.BigEndian.Uint16(size[:]))
	k.start, k.used = (k.start+n)%len(k.buf), k.used-n
	k.count--
}

// at returns a byte of the oldest message.
func (k *Recorder) at(i int) byte { return k.buf[(k.start+i)%len(k.buf)] }

func (k *Recorder) write(b []byte) {
	at := (k.start + k.used) % len(k.buf)
	n := copy(k.buf[at:], b)
	copy(k.buf, b[n:])
	k.used += len(b)
}

func (k *Recorder) grow(need int) {
	size := max(len(k.buf), leastBuffer)
	for size < need {
		size *= 2
	}
	grown := make([]byte, size)
	k.copyTo(grown)
	k.buf, k.start = grown, 0
}

func (k *Recorder) copyTo(b []byte) {
	first := k.buf[k.start:min(k.start+k.used, len(k.buf))]
	copy(b, first)
	copy(b[len(first):], k.buf[:k.used-len(first)])
}

// Records returns the messages, the oldest first.
func (k *Recorder) Records() []Record {
	b := make([]byte, k.used)
	k.copyTo(b)
	all := make([]Record, 0, k.count)
	for len(b) > 0 {
		r, rest, err := decode(b)
		if err != nil {
			break // Add writes whole records only
		}
		all, b = append(all, r), rest
	}
	return all
}
