package helloguard

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"xl2tpd-keepalive/internal/l2tp"
)

// TableName is the table's name, in the family ip. Those of other tables of the program begin with it.
const TableName = "xl2tpd_keepalive"

const (
	l2tpPort = l2tp.Port

	// The queue of packets that came through IPsec, or from xl2tpd, and the one of all
	// others: the IPsec policy, which drops what is forged, comes only after the queue.
	plainQueue   = 1701
	securedQueue = 1702

	metaSecpath expr.MetaKey = 25 // NFT_META_SECPATH of linux/netfilter/nf_tables.h

	// lastPriority is the priority of the guard's chains: after every filter, so that the guard
	// never sees what an administrator drops.
	lastPriority = 200

	// maxElements is how many elements of the set go into one message: the length of
	// its list has 16 bits, and each takes 28 bytes.
	maxElements = 1000
	// batchSize is room for a batch with any number of tunnels, in bytes: one that is
	// larger than the socket's buffer is refused.
	batchSize = 8 << 20

	// The chains of what the hooks' own chains have found to be control messages.
	sent     = "sent"
	received = "received"

	header = expr.PayloadBaseTransportHeader

	// messageType is where a control message has its first AVP's type and value (RFC 2661 §4.4.1).
	messageType = 24
)

// flow is one direction of a tunnel's control channel, as its packets show it.
type flow struct {
	src, dst [4]byte
	ports    [4]byte // source and destination
	id       uint16
}

func newFlow(src, dst netip.AddrPort, id uint16) flow {
	f := flow{src: src.Addr().As4(), dst: dst.Addr().As4(), id: id}
	binary.BigEndian.PutUint16(f.ports[:2], src.Port())
	binary.BigEndian.PutUint16(f.ports[2:], dst.Port())
	return f
}

// flows are both directions of a tunnel.
func flows(t l2tp.Connection) [2]flow {
	return [2]flow{newFlow(t.Local, t.Peer, t.PeerID), newFlow(t.Peer, t.Local, t.LocalID)}
}

// address is the flow without its id, as an element of a set.
func (f flow) address() []byte { return slices.Concat(f.src[:], f.dst[:], f.ports[:]) }

// key is the flow as an element of a set. The id fills up a register.
func (f flow) key() []byte {
	return append(binary.BigEndian.AppendUint16(f.address(), f.id), 0, 0)
}

// bothFlows are the elements of tunnels whose packets are queued in both directions.
func bothFlows(tunnels []l2tp.Connection, timeout time.Duration) []nftables.SetElement {
	var all []nftables.SetElement
	for _, t := range tunnels {
		for _, f := range flows(t) {
			all = append(all, nftables.SetElement{Key: f.key(), Timeout: timeout})
		}
	}
	return all
}

// listened are the elements of tunnels whose peers' packets are queued: with their ids, or
// those of a peer's address if the id is not known. The peer's id, if it is known, makes xl2tpd's packets known too.
func listened(tunnels []l2tp.Connection) (connections, peers []nftables.SetElement) {
	for _, t := range tunnels {
		out, in := flows(t)[0], flows(t)[1]
		if in.id == 0 {
			peers = append(peers, nftables.SetElement{Key: in.address()})
			continue
		}
		connections = append(connections, nftables.SetElement{Key: in.key()})
		if out.id != 0 {
			connections = append(connections, nftables.SetElement{Key: out.key()})
		}
	}
	return connections, peers
}

// contents are the tunnels that the sets hold, and what else the rules depend on.
type contents struct {
	failClosed []l2tp.Connection // must not pass without the guard
	listen     []l2tp.Connection // the peer's messages are queued; LocalID 0: all of that address and port
	data       []path            // data are noted that come in there
	ofXl2tpds  []uint16          // ports at which only xl2tpds listen
}

// rules are what is in the kernel.
type rules struct {
	kernel      nftConn
	table       *nftables.Table
	failClosed  *nftables.Set // flows that must not pass without the guard
	connections *nftables.Set // flows from a peer that the guard reads, and those to it
	peers       *nftables.Set // the same, without an id
	dataPeers   *nftables.Set // paths of which incoming data are noted
	// When data came in last for which tunnel: in the clear, and through IPsec.
	clear, secured *nftables.Set
	noted          map[path]bool // what dataPeers holds

	rates        *nftables.Set // how fast unpaired peers send, by address
	unknownRates *nftables.Set // how fast messages of unknown tunnels come, by address
	senders      *nftables.Set // from which cgroup control messages are sent
	// What this kernel can do besides: note who sends, and count a rate for each address.
	notesSenders, paces bool
	// check is what a loopback check's packets have after the flags of their L2TP header.
	check [checkLen]byte
	// cookie is in each rule's user data. A copy that nft(8) has saved and loaded does not have it.
	cookie  []byte
	want    map[string]int // how many rules each chain has
	dropped uint64         // how many messages of unknown tunnels this table had dropped when it was last looked at
	puts    int            // how often the table was put into the kernel
}

func newRules() *rules {
	t := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: TableName}
	r := &rules{table: t, check: newCheck(), cookie: newCookie()}
	r.kernel.keyTypes = map[string][]byte{}
	set := func(name string, fields ...field) *nftables.Set {
		s := &nftables.Set{Table: t, Name: name, Concatenation: true}
		s.KeyType, r.kernel.keyTypes[name] = keyType(fields...)
		return s
	}
	r.failClosed = set("failclosed", sourceAddress, destinationAddress, bothPorts, tunnelID)
	r.connections = set("connections", sourceAddress, destinationAddress, bothPorts, tunnelID)
	r.peers = set("peers", sourceAddress, destinationAddress, bothPorts)
	r.dataPeers = set("datapeers", sourceAddress, destinationAddress, bothPorts)
	r.clear = set("cleardata", sourceAddress, destinationAddress, bothPorts, tunnelID)
	r.secured = set("secureddata", sourceAddress, destinationAddress, bothPorts, tunnelID)
	r.senders = set("senders", bothAddresses, bothPorts, tunnelID, hashed)
	r.senders.Dynamic, r.senders.HasTimeout, r.senders.Timeout, r.senders.Size = true, true, senderTTL, maxSenders
	for _, s := range []*nftables.Set{r.clear, r.secured} {
		s.Dynamic, s.HasTimeout, s.Timeout = true, true, dataTTL
	}
	r.clear.Size = maxClear
	r.failClosed.HasTimeout = true // for the tunnels that the guard leaves behind
	r.peers.HasTimeout, r.peers.Timeout, r.peers.Size = true, openTTL, maxUnpaired
	// A rate stays for openTTL after the peer's last message. So the set also holds peers that are not unpaired any more.
	// While the set is full, the guard does not read the messages of a new peer.
	r.rates = rateSet(t, "rates", openTTL, 2*maxUnpaired)
	r.unknownRates = rateSet(t, "unknown", unknownTTL, maxUnknown)
	return r
}

// install puts the table into the kernel, in place of an earlier one, in one transaction. A
// tunnel stays fail-closed for timeout; 0: until it is taken out.
func (r *rules) install(ports []uint16, c contents, timeout time.Duration) error {
	return r.put(c, timeout, r.outgoing(ports), r.incoming(c.ofXl2tpds))
}

// installForCheck puts a table into the kernel that queues a loopback check's packets only:
// packets of fail-closed tunnels are dropped, and all others pass.
func (r *rules) installForCheck(c contents) error {
	closed := append(r.lookup(r.failClosed), &expr.Verdict{Kind: expr.VerdictDrop})
	return r.put(c, 0, [][]expr.Any{closed}, [][]expr.Any{r.checked(), loopback(expr.MetaKeyIIF), closed})
}

func (r *rules) put(in contents, timeout time.Duration, outgoing, incoming [][]expr.Any) error {
	return r.kernel.change(func(c *nftables.Conn) error { return r.addTable(c, in, timeout, outgoing, incoming) })
}

// addTable adds the whole table, in place of an earlier one.
func (r *rules) addTable(c *nftables.Conn, in contents, timeout time.Duration, outgoing, incoming [][]expr.Any) error {
	r.emptyTable(c)
	connections, peers := listened(in.listen)
	type filled struct {
		set      *nftables.Set
		elements []nftables.SetElement
	}
	sets := []filled{
		{r.failClosed, bothFlows(in.failClosed, timeout)},
		{r.connections, connections},
		{r.peers, peers[:min(len(peers), maxUnpaired)]},
		{r.dataPeers, inwardPaths(in.data)},
	}
	// The nft(8) of a system with an older kernel may not know their types, and then lists no table at all.
	if r.paces {
		sets = append(sets, filled{r.rates, nil}, filled{r.unknownRates, nil})
	}
	if r.notesSenders {
		sets = append(sets, filled{r.senders, nil})
	}
	for _, s := range sets {
		if err := addSet(c, s.set, s.elements); err != nil {
			return fmt.Errorf("nf_tables: set: %w", err)
		}
	}
	r.puts++
	r.noted = map[path]bool{}
	for _, at := range in.data {
		r.noted[at] = true
	}
	r.addHooks(c, lastPriority, outgoing, lastPriority, incoming)
	if len(in.data) == 0 {
		return nil
	}
	return r.addDataHook(c)
}

// emptyTable puts an empty table in the place of an earlier one.
func (r *rules) emptyTable(c *nftables.Conn) {
	c.AddTable(r.table) // so that there is one to delete
	c.DelTable(r.table)
	c.AddTable(r.table)
}

// addHooks adds the chains that control messages come to: those that xl2tpd sends, and those that it receives.
func (r *rules) addHooks(c *nftables.Conn, out nftables.ChainPriority, outgoing [][]expr.Any, in nftables.ChainPriority, incoming [][]expr.Any) {
	r.want = map[string]int{}
	r.addChain(c, nftables.Chain{Name: sent}, outgoing...)
	r.addChain(c, nftables.Chain{Name: received}, incoming...)
	r.addBase(c, "output", nftables.ChainHookOutput, out, control(sent, ofRoot()...))
	r.addBase(c, "input", nftables.ChainHookInput, in, control(received))
}

func (r *rules) addChain(c *nftables.Conn, ch nftables.Chain, bodies ...[]expr.Any) {
	ch.Table = r.table
	c.AddChain(&ch)
	for _, b := range bodies {
		c.AddRule(&nftables.Rule{Table: r.table, Chain: &ch, Exprs: b, UserData: r.cookie})
	}
	r.want[ch.Name] = len(bodies)
}

// addBase adds a chain that the kernel calls for each packet.
func (r *rules) addBase(c *nftables.Conn, name string, hook *nftables.ChainHook, priority nftables.ChainPriority, body []expr.Any) {
	r.addChain(c, nftables.Chain{Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: &priority}, body)
}

func addSet(c *nftables.Conn, s *nftables.Set, elements []nftables.SetElement) error {
	if err := c.AddSet(s, nil); err != nil {
		return err
	}
	for some := range slices.Chunk(elements, maxElements) {
		if err := c.SetAddElements(s, some); err != nil {
			return err
		}
	}
	return nil
}

// flush sends a batch. The kernel refuses each part of one on its own; the first
// word is enough.
func flush(c *nftables.Conn) error {
	if err := c.Flush(); err != nil {
		return refusal(err)
	}
	return nil
}

// refusal is an error of nf_tables as the kernel has said it.
func refusal(err error) error {
	var said unix.Errno
	if errors.As(err, &said) {
		err = said
	}
	return fmt.Errorf("nf_tables: %w", err)
}

// RemoveTable takes away what a guard that has ended may have left in the kernel, and reports whether there was
// anything. A guard that runs puts its table back.
func RemoveTable() (was bool, err error) {
	r := newRules()
	defer r.kernel.close()
	err = r.kernel.change(func(c *nftables.Conn) error {
		c.DelTable(r.table)
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

// remove takes the table out of the kernel.
func (r *rules) remove() error {
	return r.kernel.change(func(c *nftables.Conn) error {
		c.AddTable(r.table)
		c.DelTable(r.table)
		return nil
	})
}

// intact reports whether the kernel still has all of it. Sets and chains can't be replaced without their rules. It also
// counts what the rules have dropped.
func (r *rules) intact() (all bool, err error) {
	all = true
	var dropped uint64
	err = r.kernel.do(func(c *nftables.Conn) error {
		for chain, want := range r.want {
			got, err := c.GetRules(r.table, &nftables.Chain{Name: chain})
			if err != nil {
				return err
			}
			all = all && len(got) == want && !slices.ContainsFunc(got, r.foreign)
			dropped += counted(got)
		}
		return nil
	})
	r.dropped = dropped
	return all && err == nil, err
}

// foreign reports whether somebody else has made a rule, such as one of a saved ruleset that was loaded again.
func (r *rules) foreign(rule *nftables.Rule) bool { return !bytes.Equal(rule.UserData, r.cookie) }

// newCookie returns random user data, which nft(8) neither shows nor saves: it only knows comments.
func newCookie() []byte {
	const notComment = 0xff
	return userdata.Append(nil, notComment, []byte(rand.Text()))
}

// setFailClosed says whether a tunnel's packets must not pass without the guard.
func (r *rules) setFailClosed(t l2tp.Connection, on bool) error {
	return r.change(r.failClosed, bothFlows([]l2tp.Connection{t}, 0), on)
}

// setListen says whether the peer's packets of a tunnel are queued, and xl2tpd's read at any rate. Without the tunnel's id
// all packets of the peer's address and port are, for openTTL from now on.
func (r *rules) setListen(t l2tp.Connection, on bool) error {
	connections, peers := listened([]l2tp.Connection{t})
	if peers != nil {
		return r.change(r.peers, peers, on)
	}
	return r.change(r.connections, connections, on)
}

// change puts elements into a set or takes them out, whether or not they were there: the kernel
// refuses to delete what it does not have, and does not renew the time of what it has.
func (r *rules) change(s *nftables.Set, elements []nftables.SetElement, on bool) error {
	return r.kernel.change(func(c *nftables.Conn) error {
		steps := []func(*nftables.Set, []nftables.SetElement) error{c.SetAddElements, c.SetDeleteElements}
		if on {
			steps = append(steps, c.SetAddElements)
		}
		for _, step := range steps {
			if err := step(s, elements); err != nil {
				return err
			}
		}
		return nil
	})
}

// elements reads what the kernel has in a set.
func (r *rules) elements(s *nftables.Set) (all []nftables.SetElement, err error) {
	err = r.kernel.do(func(c *nftables.Conn) error {
		all, err = c.GetSetElements(s)
		return err
	})
	return all, err
}
