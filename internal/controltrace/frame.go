package controltrace

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// The service sends frames: a length of 2 bytes, a kind, and a body of that length.
const (
	frameMessage = 'M' // a tunnel and a record
	frameMissed  = 'L' // how many messages were not sent, 8 bytes
	frameTunnel  = 'T' // a tunnel, whose records follow, when it ended, 8 bytes (0: it has not), and the peer's vendor
	frameNoGuard = 'G' // the guard is not at work, so it sees nothing

	frameHead = 3
	messageAt = frameHead + tunnelBytes + headLen // where a message's payload begins
	maxFrame  = messageAt + MaxPayload + missedFrame

	missedFrame = frameHead + 8
)

func appendFrame(b []byte, kind byte, body []byte) []byte {
	return append(append(binary.BigEndian.AppendUint16(b, uint16(len(body))), kind), body...)
}

func appendMessage(b []byte, t *Tunnel, r *Record) []byte {
	b = append(binary.BigEndian.AppendUint16(b, uint16(tunnelBytes+headLen+len(r.Payload))), frameMessage)
	head := r.head()
	return append(append(appendTunnel(b, t), head[:]...), r.Payload...)
}

// Recording is what a Recorder has kept of one tunnel.
type Recording struct {
	Tunnel  Tunnel
	Ended   time.Time // zero: the tunnel is there
	Vendor  string    // what the peer calls itself; empty: not known
	Records []Record
}

// AppendRecording appends the frames of a recording.
func AppendRecording(b []byte, g Recording) []byte {
	ended := uint64(0)
	if !g.Ended.IsZero() {
		ended = uint64(g.Ended.UnixNano())
	}
	b = appendFrame(b, frameTunnel, append(binary.BigEndian.AppendUint64(appendTunnel(nil, &g.Tunnel), ended), g.Vendor...))
	for i := range g.Records {
		b = appendMessage(b, &g.Tunnel, &g.Records[i])
	}
	return b
}

// Event is what the service says: a message, that messages were missed, or that a recording begins.
type Event struct {
	Tunnel Tunnel
	Record Record    // with a Length: a message
	Missed uint64    // messages that were not sent
	Begins bool      // the recording of Tunnel
	Ended  time.Time // of what Begins
	Vendor string    // the same
}

// ErrNoGuard says that the Hello guard is not at work, so that it sees no message.
var ErrNoGuard = errors.New("the Hello guard is not at work")

// Begin returns the frame that comes first: from here on nothing is missed without saying so.
func Begin() []byte { return appendFrame(nil, frameMissed, make([]byte, 8)) }

// NoGuard returns the frame that is read as ErrNoGuard.
func NoGuard() []byte { return appendFrame(nil, frameNoGuard, nil) }

// Reader reads frames.
type Reader struct{ from *bufio.Reader }

// NewReader makes a reader.
func NewReader(r io.Reader) *Reader { return &Reader{bufio.NewReader(r)} }

// Next returns the next event. io.EOF says that there is none any more.
func (r *Reader) Next() (e Event, err error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r.from, head[:]); err != nil {
		return e, err
	}
	body := make([]byte, binary.BigEndian.Uint16(head[:]))
	if _, err := io.ReadFull(r.from, body); err != nil {
		return e, err
	}
	switch head[2] {
	case frameMessage:
		if e.Tunnel, body, err = decodeTunnel(body); err == nil {
			e.Record, _, err = decode(body)
		}
		return e, err
	case frameMissed:
		if len(body) != 8 {
			return e, errCut
		}
		e.Missed = binary.BigEndian.Uint64(body)
		return e, nil
	case frameTunnel:
		return begins(body)
	case frameNoGuard:
		return e, ErrNoGuard
	}
	return e, fmt.Errorf("a frame of another version: %q", head[2])
}

func begins(body []byte) (e Event, err error) {
	e.Begins = true
	if e.Tunnel, body, err = decodeTunnel(body); err != nil {
		return e, err
	}
	if len(body) < 8 {
		return e, errCut
	}
	if at := binary.BigEndian.Uint64(body); at != 0 {
		e.Ended = time.Unix(0, int64(at))
	}
	e.Vendor = string(body[8:])
	return e, nil
}
