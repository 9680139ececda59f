// Command lab runs scenarios, the project's lab tests and the demo in virtual machines.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"xl2tpd-keepalive/lab/vm"
)

const usage = `usage: lab [-image DIR] [-disk DIR] [-out DIR] [-results DIR] [-clock skip|real] [-set NAME=VALUE...] COMMAND
-set gives scenarios a variable. The figures of a run become a file in the folder of results; a run that fails leaves it
with its log, in the folder of -out. So does a run of code that differs from its commit.
  test                 every scenario and every lab test, two VMs at a time (clock: skip)
  demo                 the same tunnels without and with xl2tpd-keepalive, with a timeline
  pictures             what status, status --watch and doctor look like, as pictures
  soak DURATION        many tunnels without and with the guard for that long, in two VMs
  bad-lines DURATION   drops on lines that lose packets, for that long without the guard and with it, in one VM
  matrix               what brings a tunnel back after which trouble, and when, in three VMs
  chaos SEED N         random faults for $SPAN, by N seeds from SEED on, two VMs at a time
  scale                what many tunnels and many SAs cost, and restarts of charon under them, in one VM, with its log
  copies PERSONALITY...
                       whether a trace of a router makes a copy that does the same, for each, in one VM, with its log
  mtu [VALUE...]       path MTU and its remedy on each kind of line, or on those with these values, in one VM, with its log
  links N...           what so many links cost on this machine's own processor, in a network namespace
  throughput           a tunnel's data with the guard and without, in one VM, with its log
  run SCENARIO...      these files of the disk's scenarios/, in one VM, with its log
  gotest PACKAGE...    these compiled tests of the disk's tests/, in one VM, with their log
  record NAME [PARAMETER=VALUE...] -- COMMAND...
                       this command, with its output; figures are what Go's tests and benchmarks say
  commit               the commit that is checked out, and "dirty" if code differs from it
  results              writes the figures of all results into the documents
`

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	l := lab{set: map[string]string{"FLOOD": "3s", "PEERS": "2"}, recorder: &recorder{}}
	flags.StringVar(&l.image, "image", ".cache/lab/bookworm", "")
	flags.StringVar(&l.disk, "disk", ".cache/lab/disk", "")
	flags.StringVar(&l.out, "out", ".cache/lab/out", "")
	dir := flags.String("results", ".cache/results", "")
	flags.Func("set", "", func(text string) error {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return fmt.Errorf("%q is not NAME=VALUE", text)
		}
		l.set[name] = value
		return nil
	})
	clock := flags.String("clock", "skip", "")
	if flags.Parse(args) != nil || flags.NArg() == 0 || (*clock != "skip" && *clock != "real") {
		flags.Usage()
		return 2
	}
	if err := os.MkdirAll(l.out, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var ok bool
	switch rest := flags.Args()[1:]; flags.Arg(0) {
	case "test":
		ok = l.test(ctx)
	case "demo":
		ok = l.demo(ctx)
	case "pictures":
		ok = l.pictures(ctx)
	case "soak":
		ok = l.soak(ctx, rest)
	case "bad-lines":
		ok = l.badLines(ctx, rest)
	case "matrix":
		ok = l.matrix(ctx)
	case "chaos":
		ok = l.chaos(ctx, rest)
	case "throughput":
		ok = l.play(ctx, vm.Clock(*clock), "throughput-"+l.set["MODE"], []string{throughputScenario}, nil)
	case "copies":
		ok = l.play(ctx, vm.Clock(*clock), "copies", each(copyScenario, "PERSONALITY", rest), nil)
	case "mtu":
		ok = l.play(ctx, vm.Clock(*clock), "mtu", mtuLines(rest), nil)
	case "scale":
		ok = l.play(ctx, vm.Clock(*clock), "scale-"+l.set["TUNNELS"]+"-"+l.set["GUARD"], scaleScenarios, nil)
	case "links":
		ok = l.links(ctx, rest)
	case "inside":
		ok = l.inside(ctx, rest)
	case "run":
		ok = l.play(ctx, vm.Clock(*clock), l.runName(rest), rest, nil)
	case "gotest":
		ok = l.play(ctx, vm.Clock(*clock), "", nil, rest)
	case "record":
		ok = l.command(ctx, rest)
	case "commit":
		ok = printCommit()
	case "results":
		ok = writeDocuments()
	default:
		flags.Usage()
		return 2
	}
	if err := l.recorder.end(ok, *dir, l.out); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		ok = false
	}
	if !ok {
		return 1
	}
	return 0
}
