package vici

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

const (
	packetEvent = 7         // type of a packet that carries an event
	maxPacket   = 512 << 10 // charon's own limit, bytes
	maxUnread   = 64        // events passed on but not fetched yet; govici drops those beyond 128
)

// conn passes charon's packets to govici one by one, and holds back the events
// that govici cannot take at the moment:
//
//   - While govici subscribes, an event that overtakes charon's confirmation
//     would lock it up permanently, even after a close.
//   - While govici lists, its queue drops the events that the caller has not
//     fetched yet.
//
// govici's reader can hang nowhere else, so closing conn always ends it.
type conn struct {
	net.Conn
	dropEvents atomic.Bool   // drop events
	unread     chan struct{} // nil, or one token for each event not yet fetched
	once       sync.Once
	closed     chan struct{}
	rest       []byte // unread rest of the current packet
}

// newConn returns a conn. If counted, it limits unread events: then the caller must
// call fetched for each event.
func newConn(c net.Conn, counted bool) *conn {
	n := &conn{Conn: c, closed: make(chan struct{})}
	if counted {
		n.unread = make(chan struct{}, maxUnread)
	}
	return n
}

// fetched records that the caller has fetched one event.
func (c *conn) fetched() {
	<-c.unread
}

func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (c *conn) Read(b []byte) (int, error) {
	for len(c.rest) == 0 {
		packet, err := c.next()
		if err != nil {
			return 0, err
		}
		if packet[4] != packetEvent {
			c.rest = packet
			break
		}
		if c.dropEvents.Load() {
			continue
		}
		if c.unread != nil {
			select {
			case c.unread <- struct{}{}:
			case <-c.closed:
				return 0, net.ErrClosed
			}
		}
		c.rest = packet
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// next reads a whole packet: its length in 4 bytes, then as many bytes, the
// first of which is its type.
func (c *conn) next() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(c.Conn, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size == 0 || size > maxPacket {
		return nil, fmt.Errorf("packet of %d bytes from charon", size)
	}
	packet := make([]byte, len(head)+int(size))
	copy(packet, head[:])
	_, err := io.ReadFull(c.Conn, packet[len(head):])
	return packet, err
}
