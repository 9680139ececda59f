package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"xl2tpd-keepalive/internal/status"
)

// show prints the report of the running service, again each second with --watch.
func show(o options, stdout, stderr io.Writer) int {
	if o.json && o.short {
		return misused(stderr, "status", "--json and --short exclude each other")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	screen := isTerminal(stdout) && !o.json
	look := func(w io.Writer) error {
		r, err := status.Read(ctx, status.DefaultSocket)
		if err != nil {
			return fmt.Errorf("xl2tpd-keepalive: %w", err)
		}
		if r.Tunnels, err = status.Named(r.Tunnels, o.names); err != nil {
			return fmt.Errorf("xl2tpd-keepalive: %w", err)
		}
		switch {
		case o.json:
			return json.NewEncoder(w).Encode(r)
		case o.short:
			return status.Short(w, r, coloured(stdout))
		}
		return status.Text(w, r, coloured(stdout))
	}
	if !o.watch {
		if err := look(stdout); err != nil {
			fmt.Fprintln(stderr, err)
			return exitError
		}
		return exitOK
	}
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		var page strings.Builder
		err := look(&page)
		if ctx.Err() != nil {
			return exitOK
		}
		if err != nil { // it may come back
			if o.json {
				fmt.Fprintln(stderr, err)
			} else {
				fmt.Fprintln(&page, err)
			}
		}
		text := page.String()
		if screen {
			columns, rows := size(stdout)
			text = repaint(clip(text, columns, rows))
		}
		if _, err := io.WriteString(stdout, text); err != nil {
			return exitError
		}
		select {
		case <-ctx.Done():
			return exitOK
		case <-again.C:
		}
	}
}

// repaint draws over what is on the screen, without a flicker: from the corner,
// the rest of each line and then of the screen cleared.
func repaint(text string) string {
	return "\x1b[H" + strings.ReplaceAll(text, "\n", "\x1b[K\n") + "\x1b[J"
}

// size is that of a terminal, in columns and rows; zero: not known.
func size(w io.Writer) (columns, rows int) {
	if f, ok := w.(*os.File); ok {
		columns, rows, _ = term.GetSize(int(f.Fd()))
	}
	return columns, rows
}

var colour = regexp.MustCompile("\x1b\\[[0-9;]*m")

// clip cuts a page to what a terminal can show, less the row that the cursor stands in. A longer
// page would scroll, and its beginning would be out of sight.
func clip(text string, columns, rows int) string {
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	needed := make([]int, len(lines))
	all := 0
	for i, line := range lines {
		needed[i] = 1
		if columns > 0 {
			width := utf8.RuneCountInString(strings.TrimSuffix(colour.ReplaceAllString(line, ""), "\n"))
			needed[i] = max(1, (width+columns-1)/columns)
		}
		all += needed[i]
	}
	if rows < 3 || all < rows {
		return text
	}
	shown, used := 0, 0
	for used+needed[shown] <= rows-2 { // one for the cursor, and one for the last line
		used += needed[shown]
		shown++
	}
	return strings.Join(lines[:shown], "") + fmt.Sprintf("… more lines: %d; name tunnels, or use --short\n", len(lines)-shown)
}

// coloured tells whether colours are welcome, see https://no-color.org.
func coloured(w io.Writer) bool { return isTerminal(w) && os.Getenv("NO_COLOR") == "" }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && !strings.EqualFold(os.Getenv("TERM"), "dumb")
}
