package l2tp

// Port is the UDP port of an LNS (RFC 2661 §8.1). xl2tpd listens on it too, unless xl2tpd.conf has another port.
const Port = 1701
