package trace

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/controltrace/pcapng"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/message"
)

// A Sink is where messages are shown: lines of text, or a file for Wireshark.
type Sink struct {
	lines io.Writer // nil: the file
	file  *os.File
	to    *pcapng.Writer
	lang  *message.Language
	count int // of messages
}

// NewSink makes a sink. path is the file; empty: lines; "-": standard output. program goes into the file.
func NewSink(path string, stdout io.Writer, program string, lang *message.Language) (*Sink, error) {
	switch path {
	case "":
		return &Sink{lang: lang, lines: stdout}, nil
	case "-":
		return &Sink{lang: lang, to: pcapng.NewWriter(stdout, program)}, nil
	}
	// What is in it is no secret of others, but it is not for everyone either.
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &Sink{lang: lang, file: file, to: pcapng.NewWriter(file, program)}, nil
}

// Count returns how many messages were shown.
func (s *Sink) Count() int { return s.count }

// event shows one event, if it is selected.
func (s *Sink) event(ctx context.Context, which *Selection, e controltrace.Event) error {
	if e.Lost > 0 {
		if err := s.lost(e.Lost); err != nil {
			return err
		}
	}
	if e.Record.Length == 0 {
		return nil
	}
	name, wanted := which.name(ctx, e.Connection)
	if !wanted {
		return nil
	}
	return s.put(e.Connection, name, &e.Record)
}

func (s *Sink) put(t l2tp.Connection, name string, r *controltrace.Record) error {
	s.count++
	if s.lines != nil {
		_, err := fmt.Fprintln(s.lines, controltrace.Line(t, name, r))
		return err
	}
	s.to.Write(t, name, r)
	return s.to.Flush() // a trace that is cut off has all up to then
}

// lost says how many messages are not shown. A file has no place for that, so standard error gets it.
func (s *Sink) lost(n uint64) error {
	to := s.lines
	if to == nil {
		to = os.Stderr
	}
	_, err := fmt.Fprintln(to, s.lang.Sprintf("... %d messages not shown", n))
	return err
}

// recording shows what is kept of one tunnel.
func (s *Sink) recording(name string, k controltrace.Recording) error {
	if s.lines != nil {
		when := s.lang.Text("is there")
		if !k.Ended.IsZero() {
			when = s.lang.Sprintf("ended at %s", k.Ended.Local().Format(time.DateTime))
		}
		if name == "" {
			name = k.Connection.Peer.Addr().String()
		}
		if _, err := fmt.Fprintf(s.lines, "# %s: %s\n", name, when); err != nil {
			return err
		}
	}
	for i := range k.Records {
		if err := s.put(k.Connection, name, &k.Records[i]); err != nil {
			return err
		}
	}
	return nil
}

// Close writes what is left, and closes the file.
func (s *Sink) Close() error {
	if s.to == nil {
		return nil
	}
	err := s.to.Flush()
	if s.file != nil {
		if closed := s.file.Close(); err == nil {
			err = closed
		}
	}
	return err
}
