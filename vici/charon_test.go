package vici

import (
	"context"
	"encoding/binary"
	"io"
	"io/fs"
	"net"
	"strings"
	"sync"
	"testing"

	govici "github.com/strongswan/govici/vici"
)

// charon is a fake of the daemon at the far end of its socket.
type charon struct {
	mu       sync.Mutex
	sas      []*govici.Message
	early    bool            // send an event before each confirmation
	silent   map[string]bool // commands and events to leave unanswered
	garbage  []byte          // sent in place of the answer to list-sas
	lists    int             // list-sas answered
	commands []string        // received, as "name key=value ..."
	// answer, if set, is asked for the events and the reply of each command.
	answer    func(command string) (events []*govici.Message, reply *govici.Message)
	conns     []*peer
	missing   string // socket that does not exist
	refuse    error  // of each dial
	dialled   []string
	subscribe []string // events registered
	serving   sync.WaitGroup
}

// peer is one connection of the client.
type peer struct {
	net.Conn
	writing sync.Mutex
	events  map[string]bool
}

func (c *charon) dial(_ context.Context, network, address string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialled = append(c.dialled, network+" "+address)
	if address == c.missing {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fs.ErrNotExist}
	}
	if c.refuse != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: c.refuse}
	}
	ours, theirs := net.Pipe()
	p := &peer{Conn: ours, events: map[string]bool{}}
	c.conns = append(c.conns, p)
	c.serving.Go(func() { c.serve(p) })
	return theirs, nil
}

func (c *charon) serve(p *peer) {
	for {
		packet, err := readPacket(p)
		if err != nil {
			return
		}
		kind, name := packet[0], ""
		if n := int(packet[1]); len(packet) >= 2+n {
			name = string(packet[2 : 2+n])
		}
		c.mu.Lock()
		early, silent, sas, garbage, answer := c.early, c.silent[name], c.sas, c.garbage, c.answer
		command := ""
		if kind == 0 {
			command = name + flat(packet[2+len(name):])
			c.commands = append(c.commands, command)
		}
		c.mu.Unlock()
		if silent {
			continue
		}
		switch kind {
		case 0: // command
			if garbage != nil {
				p.raw(garbage)
				continue
			}
			event, reply := "list-sa", (*govici.Message)(nil)
			if answer != nil {
				sas, reply = answer(command)
				event = strings.NewReplacer("conns", "conn", "sas", "sa").Replace(name)
			}
			for _, sa := range sas {
				p.send(packetEvent, event, sa)
			}
			c.mu.Lock()
			c.lists++
			c.mu.Unlock()
			p.send(1, "", reply)
		case 3, 4: // register, unregister
			c.mu.Lock()
			p.events[name] = kind == 3
			if name != "list-sa" {
				c.subscribe = append(c.subscribe, name)
			}
			c.mu.Unlock()
			if early {
				p.send(packetEvent, "ike-updown", nil)
			}
			p.send(5, "", nil)
		}
	}
}

// emit sends an event to the clients that have registered for it.
func (c *charon) emit(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.conns {
		if p.events[name] {
			p.send(packetEvent, name, nil)
		}
	}
}

// die closes all connections, as charon does when it is killed.
func (c *charon) die() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.conns {
		p.Close()
	}
	c.conns = nil
}

func (c *charon) set(sas ...*govici.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sas = sas
}

func (c *charon) listed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lists
}

func (p *peer) send(kind byte, name string, m *govici.Message) {
	b := []byte{kind}
	if name != "" {
		b = append(append(b, byte(len(name))), name...)
	}
	b = append(b, encode(m)...)
	p.raw(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
}

// raw writes what it can: the client may have closed already.
func (p *peer) raw(b []byte) {
	p.writing.Lock()
	defer p.writing.Unlock()
	if _, err := p.Write(b); err != nil {
		return
	}
}

func readPacket(r io.Reader) ([]byte, error) {
	var size uint32
	if err := binary.Read(r, binary.BigEndian, &size); err != nil {
		return nil, err
	}
	packet := make([]byte, max(size, 2))
	_, err := io.ReadFull(r, packet[:size])
	return packet, err
}

// flat reads a message of plain values: " key=value" for each.
func flat(b []byte) string {
	s := ""
	for len(b) > 2 && b[0] == 3 {
		key, rest := string(b[2:2+b[1]]), b[2+b[1]:]
		n := 2 + binary.BigEndian.Uint16(rest)
		s += " " + key + "=" + string(rest[2:n])
		b = rest[n:]
	}
	return s
}

// encode is the wire form of a message's elements.
func encode(m *govici.Message) []byte {
	var b []byte
	if m == nil {
		return nil
	}
	key := func(kind byte, s string) { b = append(append(b, kind, byte(len(s))), s...) }
	value := func(s string) { b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) }
	for _, k := range m.Keys() {
		switch v := m.Get(k).(type) {
		case *govici.Message:
			key(1, k)
			b = append(append(b, encode(v)...), 2)
		case string:
			key(3, k)
			value(v)
		case []string:
			key(4, k)
			for _, item := range v {
				b = append(b, 5)
				value(item)
			}
			b = append(b, 6)
		}
	}
	return b
}

// fields builds a message from keys and values in turn.
func fields(t testing.TB, kv ...any) *govici.Message {
	t.Helper()
	m := govici.NewMessage()
	for i := 0; i+1 < len(kv); i += 2 {
		if err := m.Set(kv[i].(string), kv[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// established is a list-sa message of a plain SA.
func established(t *testing.T, name, id string) *govici.Message {
	return fields(t, name, fields(t, "uniqueid", id, "state", "ESTABLISHED"))
}
