// Command personality turns a capture of a router's control channel into a personality of lab/lns. Of every key it says
// what was seen, or that the capture does not show it. It also says where a capture and a personality differ.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/lab/lns/l2tp"
	"xl2tpd-keepalive/lab/personality/capture"
	"xl2tpd-keepalive/lab/personality/infer"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "personality:", err)
		os.Exit(1)
	}
}

const usage = `usage: personality [-tunnel N | -together] FILE
       personality -check PERSONALITY.json [-from DURATION] FILE

FILE is a capture of a control channel from before the tunnel is dialled, pcapng or pcap. The personality goes to
standard output. If FILE has several tunnels, there is one personality for each.

With -check, each tunnel of FILE is compared with what a router of that personality would have sent.

`

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("personality", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage); flags.PrintDefaults() }
	tunnel := flags.Int("tunnel", 0, "only the `N`th tunnel of the file")
	together := flags.Bool("together", false, "one personality from all tunnels, which must be with one router")
	check := flags.String("check", "", "compare the capture with this personality, a `FILE`")
	from := flags.Duration("from", 0, "with -check: leave out what differs before that `DURATION` of a tunnel's life")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if flags.NArg() != 1 || *tunnel != 0 && *together {
		flags.Usage()
		return errors.New("want one file, and -tunnel or -together but not both")
	}
	name := flags.Arg(0)
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	file, err := capture.Read(name, f)
	if err != nil {
		return err
	}
	for _, w := range file.Warnings {
		fmt.Fprintln(stderr, "personality:", w)
	}
	if *check != "" {
		return compare(stdout, *check, *from, file.Connections)
	}
	groups, err := choose(file.Connections, *tunnel, *together)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if len(groups) > 1 {
		fmt.Fprintf(stderr, "personality: %s has %d tunnels; -tunnel N takes one of them, -together all for one personality\n", name, len(groups))
	}
	for _, group := range groups {
		p, err := infer.Learn(file.Connections, group...)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := write(stdout, filepath.Base(name), group, p); err != nil {
			return err
		}
	}
	return nil
}

// compare writes what a router of a personality would have done otherwise in each tunnel. That is an error.
func compare(w io.Writer, personality string, from time.Duration, all []*capture.Connection) error {
	text, err := os.ReadFile(personality)
	if err != nil {
		return err
	}
	b := l2tp.Defaults()
	if err := errors.Join(b.Decode(text), b.Check()); err != nil {
		return fmt.Errorf("%s: %w", personality, err)
	}
	same := true
	for i, c := range all {
		differences, packets, err := infer.Check(b, c, from)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "tunnel %d: %d control packets of the router, %d differences\n", i+1, packets, len(differences))
		for _, d := range differences {
			fmt.Fprintf(w, "  %s\n", d)
			same = false
		}
	}
	if !same {
		return fmt.Errorf("a router of %s would have done otherwise", personality)
	}
	return nil
}

// choose groups connections by the personality that they are for.
func choose(all []*capture.Connection, tunnel int, together bool) ([][]*capture.Connection, error) {
	switch {
	case tunnel < 0 || tunnel > len(all):
		return nil, fmt.Errorf("there is no tunnel %d: it has %d", tunnel, len(all))
	case tunnel > 0:
		return [][]*capture.Connection{all[tunnel-1 : tunnel]}, nil
	case together:
		for _, c := range all {
			if c.Router.Addr() != all[0].Router.Addr() {
				return nil, fmt.Errorf("tunnels with %v and with %v: take them one by one, with -tunnel", all[0].Router.Addr(), c.Router.Addr())
			}
		}
		return [][]*capture.Connection{all}, nil
	}
	return slices.Collect(slices.Chunk(all, 1)), nil
}

// write writes a personality file with its comments.
func write(w io.Writer, file string, of []*capture.Connection, p *infer.Personality) error {
	var b strings.Builder
	for _, c := range of {
		first := c.Packets[0]
		fmt.Fprintf(&b, "// Seen in %s: tunnel from %v to the router at %v, from packet %d (%s) on.\n", file, c.Client, c.Router,
			first.Number, first.At.UTC().Format("2006-01-02 15:04:05.000 UTC"))
	}
	b.WriteString("// Times in comments count from there.\n//\n")
	for _, remark := range p.Remarks {
		comment(&b, "// ", remark)
	}
	b.WriteString("{\n")
	last := len(p.Findings) - 1
	for i, f := range p.Findings {
		if f.Key == "about" {
			f.Value = fmt.Sprintf("%q", "Inferred from the capture "+file+".")
		} else {
			verdict := "not known: "
			if f.Known {
				verdict = "seen: "
			}
			comment(&b, "\t// ", verdict+f.Note)
		}
		fmt.Fprintf(&b, "\t%q: %s", f.Key, f.Value)
		if i < last {
			b.WriteString(",")
		}
		b.WriteString("\n")
	}
	b.WriteString("}\n")
	again := l2tp.Defaults()
	if err := again.Decode([]byte(b.String())); err != nil {
		return fmt.Errorf("the personality cannot be read: %w", err)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

const width = 116

// comment writes a text in lines that begin with a prefix.
func comment(b *strings.Builder, prefix, text string) {
	line := prefix
	for i, word := range strings.Fields(text) {
		if i > 0 && len(line)+1+len(word) > width {
			b.WriteString(line + "\n")
			line = prefix + "  "
		} else if i > 0 {
			line += " "
		}
		line += word
	}
	b.WriteString(line + "\n")
}
