package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"xl2tpd-keepalive/status"
)

// show prints the report of the running service, again each second with -watch.
func show(o options, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	screen := isTerminal(stdout) && !o.json
	look := func(w io.Writer) error {
		r, err := status.Read(ctx, status.DefaultSocket)
		if err != nil {
			return fmt.Errorf("xl2tpd-keepalive: %w", err)
		}
		if o.json {
			return json.NewEncoder(w).Encode(r)
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
			text = repaint(text)
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

// coloured tells whether colours are welcome, see https://no-color.org.
func coloured(w io.Writer) bool { return isTerminal(w) && os.Getenv("NO_COLOR") == "" }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && !strings.EqualFold(os.Getenv("TERM"), "dumb")
}
