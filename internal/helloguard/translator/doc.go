// Package translator keeps xl2tpd's Hellos from closing living tunnels. RFC 2661 §5.5
// wants a Hello only when nothing has been received for a while; xl2tpd sends one every
// 60 s, and closes the tunnel if the Hello stays unanswered. If a living peer does not count the
// Hello, the translator acknowledges it in the peer's name. From then on the two ends count
// differently. The translator renumbers every message of the control channel on its way, so
// that neither end sees a gap.
//
// The package is pure: it turns packets and the time into verdicts. It opens no socket,
// starts no goroutine and reads no clock.
//
// # Whether the peer has counted a Hello
//
// The translator asks the peer. When the Hello and its copies stay unanswered, it repeats a
// message that the peer has acknowledged before and that is no Hello. A peer acknowledges a
// duplicate (RFC 2661 §5.8), and that acknowledgement carries the number that the peer expects:
// the Hello's, or the next one. The answer counts only if it can belong to nothing else that
// the peer was sent (see helloInFlight.before). A wrong decision is taken back when the peer
// acknowledges more than was sent (see takeBack).
//
// A peer that does not answer duplicates leaves the Hello undecided. If its links show that
// it lives, xl2tpd is answered just before it would give up.
//
// # What is relied on in xl2tpd
//
// Read in xl2tpd 1.3.12 to 1.3.20, which agree on all of it:
//
//   - control.c hello() sends a Hello every 60 s whatever else flows.
//   - network.c control_xmit() retransmits a message, bytes unchanged (so with the Nr of
//     its first time), after 1, 2, 4, 8 and 16 s and closes the tunnel 31 s after the first
//     time; it forgets the message once Ns < cLr. It keeps no send window. With a
//     raised `max retries` it does not close the tunnel, and sends further copies after
//     32, 64, … s: see Liveness.GivesUp.
//   - control.c check_control() takes a packet only if its Ns is exactly the one expected;
//     only then is cLr = Nr set, without looking whether that goes backwards. The Ns moves
//     on before the version, the reserved bits or any AVP is read. An old message is
//     answered with a ZLB, an old or early ZLB is ignored.
//   - control.c handle_control() and network.c network_thread() answer every accepted
//     message immediately, with a ZLB or with the next message.
//   - call.c call_close() forgets every other message when it sends a StopCCN.
//     handle_control() ends the tunnel at the first ZLB after which everything
//     before the StopCCN is acknowledged (cLr >= closeSs). Without such a ZLB
//     control_xmit() ends it after 31 s.
//   - control.c handle_special() counts a ZLB for an unknown session as a message; so a ZLB
//     made here always names session 0.
//   - control_xmit() and check_control() compare as plain integers. So xl2tpd never takes
//     its message 65535 as acknowledged and closes a tunnel at its 65536th control message
//     (some 45 days of Hellos). Nothing outside xl2tpd can prevent that. xl2tpd does not answer
//     a duplicate from before the wrap either. HandleTimers does so for xl2tpd.
package translator
