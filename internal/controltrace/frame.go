package controltrace

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"xl2tpd-keepalive/internal/l2tp"
)

// The service sends frames: a length of 2 bytes, a kind, and a body of that length.
const (
	frameMessage    = 'M' // a connection and a record
	frameLost       = 'L' // how many messages were not sent, 8 bytes
	frameConnection = 'T' // a connection, whose records follow, when it ended, 8 bytes (0: it has not), and the peer's vendor
	frameNoGuard    = 'G' // the guard is not at work, so it sees nothing

	frameHead = 3
	messageAt = frameHead + connectionBytes + headLen // where a message's payload begins
	maxFrame  = messageAt + maxPayload + lostFrame

	lostFrame = frameHead + 8
)

func appendFrame(b []byte, kind byte, body []byte) []byte {
	return append(append(binary.BigEndian.AppendUint16(b, uint16(len(body))), kind), body...)
}

func appendMessage(b []byte, c *l2tp.Connection, r *Record) []byte {
	b = append(binary.BigEndian.AppendUint16(b, uint16(connectionBytes+headLen+len(r.Payload))), frameMessage)
	head := r.head()
	return append(append(appendConnection(b, c), head[:]...), r.Payload...)
}

// Recording is what a Recorder has kept of one connection.
type Recording struct {
	l2tp.Connection
	Ended   time.Time // zero: the connection is there
	Vendor  string    // what the peer calls itself; empty: not known
	Records []Record
}

// AppendRecording appends the frames of a recording.
func AppendRecording(b []byte, g Recording) []byte {
	ended := uint64(0)
	if !g.Ended.IsZero() {
		ended = uint64(g.Ended.UnixNano())
	}
	b = appendFrame(b, frameConnection, append(binary.BigEndian.AppendUint64(appendConnection(nil, &g.Connection), ended), g.Vendor...))
	for i := range g.Records {
		b = appendMessage(b, &g.Connection, &g.Records[i])
	}
	return b
}

// Event is what the service says: a message, that messages were missed, or that a recording begins.
type Event struct {
	l2tp.Connection
	Record Record    // with a Length: a message
	Lost   uint64    // messages that were not sent
	Begins bool      // the recording of Connection
	Ended  time.Time // of what Begins
	Vendor string    // the same
}

// ErrNoGuard says that the Hello guard is not at work, so that it sees no message.
var ErrNoGuard = errors.New("the Hello guard is not at work")

// Begin returns the frame that comes first: from here on nothing is missed without saying so.
func Begin() []byte { return appendFrame(nil, frameLost, make([]byte, 8)) }

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
		if e.Connection, body, err = decodeConnection(body); err == nil {
			e.Record, _, err = decode(body)
		}
		return e, err
	case frameLost:
		if len(body) != 8 {
			return e, errCut
		}
		e.Lost = binary.BigEndian.Uint64(body)
		return e, nil
	case frameConnection:
		return begins(body)
	case frameNoGuard:
		return e, ErrNoGuard
	}
	return e, fmt.Errorf("a frame of another version: %q", head[2])
}

func begins(body []byte) (e Event, err error) {
	e.Begins = true
	if e.Connection, body, err = decodeConnection(body); err != nil {
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
