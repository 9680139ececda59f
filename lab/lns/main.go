// Command lns is an L2TPv2 LNS for the lab that can be as odd as the routers in the
// field: a personality says what it does with Hellos, when it sends its own,
// and when it closes. Control channel and timers are its own, the data plane
// is the kernel's PPPoL2TP with a real pppd. Each event is a line of JSON on
// standard output, each close with its reason; logs go to standard error.
// It never forks into the background and ends on SIGTERM, with StopCCN on
// every tunnel.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "lns:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("lns", flag.ContinueOnError)
	flags.SetOutput(stderr)
	personality := flags.String("personality", "plain", "personality: the path of a file NAME.json, or one built in: "+names())
	var settings []string
	flags.Func("set", "`key=value`: change one setting of the personality (repeatable)", func(s string) error {
		settings = append(settings, s)
		return nil
	})
	peer := flags.String("peer", "", "name in the event log (default: the personality)")
	listen := flags.String("listen", "0.0.0.0:1701", "UDP address and port")
	local := flags.String("local", "192.168.100.1", "our PPP address")
	clients := flags.String("pool", "192.168.100.10-192.168.100.250", "PPP addresses for clients")
	pppdPath := flags.String("pppd", "pppd", "the pppd to run")
	auth := flags.String("auth", "none", "what clients must do: none, pap, chap, mschap-v2 (secrets as usual in /etc/ppp)")
	mtu := flags.Int("mtu", 1258, "MTU and MRU of PPP")
	count := flags.Int("count", 0, "be so many LNSs, at as many addresses from -listen's, -local's and -pool's first on, without the kernel's L2TP and pppd")
	grace := flags.Duration("grace", 3*time.Second, "at SIGTERM, time for clients to acknowledge StopCCN")
	verbose := flags.Bool("v", false, "log what pppd says")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	behaviour, err := load(*personality, settings)
	if err != nil {
		return err
	}
	if *peer == "" {
		*peer = *personality
	}
	address, err := netip.ParseAddrPort(*listen)
	if err != nil || !address.Addr().Is4() {
		return fmt.Errorf("-listen %q: want an IPv4 address and a port", *listen)
	}
	ours, err := netip.ParseAddr(*local)
	if err != nil || !ours.Is4() {
		return fmt.Errorf("-local %q: want an IPv4 address", *local)
	}
	pool, err := parsePool(*clients)
	if err != nil {
		return err
	}
	if !slices.Contains([]string{"none", "pap", "chap", "mschap-v2"}, *auth) {
		return fmt.Errorf("-auth %q: want none, pap, chap or mschap-v2", *auth)
	}
	if *pppdPath, err = exec.LookPath(*pppdPath); err != nil {
		return err
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))

	// Whatever the binary is called: a search for xl2tpd, or for its pppds by
	// their parent, must not find this process.
	if err := os.WriteFile("/proc/self/comm", []byte("lab-lns"), 0); err != nil {
		return fmt.Errorf("name the process: %w", err)
	}

	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	events := journal{peer: *peer, out: stdout}
	if *count > 0 {
		s := servers{behaviour: behaviour, journal: events, grace: *grace, log: log}
		return s.run(ctx, *count, address, ours, pool.first)
	}
	conn, send, err := listenAt(ctx, address, log)
	if err != nil {
		return err
	}
	defer conn.Close()
	address = conn.LocalAddr().(*net.UDPAddr).AddrPort() // with the port chosen for port 0
	plane := kernel{listen: address, pppd: pppd{path: *pppdPath, local: ours, mtu: *mtu, auth: *auth, name: behaviour.HostName, log: log}}
	s := newServer(behaviour, events, plane, pool, send, *grace)
	go read(conn, s.deliver)
	events.write(record{Event: "listening", Local: address.String()})
	s.run(ctx)
	events.write(record{Event: "stopped"})
	return nil
}

func listenAt(ctx context.Context, address netip.AddrPort, log *slog.Logger) (conn *net.UDPConn, send func(netip.AddrPort, []byte), err error) {
	config := net.ListenConfig{Control: reuseAddress}
	packets, err := config.ListenPacket(ctx, "udp4", address.String())
	if err != nil {
		return nil, nil, err
	}
	conn = packets.(*net.UDPConn)
	return conn, func(to netip.AddrPort, b []byte) {
		if _, err := conn.WriteToUDPAddrPort(b, to); err != nil {
			log.Warn("send a packet", "to", to, "err", err)
		}
	}, nil
}
