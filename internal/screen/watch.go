package screen

import (
	"context"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"xl2tpd-keepalive/internal/message"
)

// every is the time from one page to the next.
const every = time.Second

// Stream writes a page each second, for a file or a pipe, until ctx ends.
func Stream(ctx context.Context, w io.Writer, page func(io.Writer)) error {
	again := time.NewTicker(every)
	defer again.Stop()
	for {
		var text strings.Builder
		page(&text)
		if ctx.Err() != nil {
			return nil
		}
		if _, err := io.WriteString(w, text.String()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
	}
}

// Control sequences of xterm and similar terminals.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l" // the alternate screen, without a cursor, and no line wraps
	leaveScreen = "\x1b[?7h\x1b[?25h\x1b[?1049l"
)

// Watch shows a page each second on the alternate screen, until ctx ends. It restores the terminal at the end, and while
// Ctrl-Z stops the program.
func Watch(ctx context.Context, terminal io.Writer, page func(io.Writer), lang *message.Language) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTSTP, syscall.SIGWINCH)
	defer signal.Stop(signals)
	again := time.NewTicker(every)
	defer again.Stop()
	io.WriteString(terminal, enterScreen)
	defer io.WriteString(terminal, leaveScreen)
	var text strings.Builder
	for fresh := true; ; {
		if fresh {
			text.Reset()
			page(&text)
		}
		if ctx.Err() != nil {
			return nil
		}
		columns, rows := size(terminal)
		if _, err := io.WriteString(terminal, repaint(clip(text.String(), columns, rows, lang))); err != nil {
			return err
		}
		fresh = true
		select {
		case <-ctx.Done():
			return nil
		case s := <-signals:
			if s == syscall.SIGTSTP {
				io.WriteString(terminal, leaveScreen)
				syscall.Kill(os.Getpid(), syscall.SIGSTOP) // until the shell's fg
				io.WriteString(terminal, enterScreen)
			}
			fresh = false
		case <-again.C:
		}
	}
}

// repaint draws over what is on the screen, without a flicker: from the corner, the rest of each line and then of the
// screen cleared.
func repaint(text string) string {
	return "\x1b[H" + strings.ReplaceAll(text, "\n", "\x1b[K\n") + "\x1b[J"
}

// size returns a terminal's size in columns and rows; zero: not known.
func size(w io.Writer) (columns, rows int) {
	if f, ok := w.(*os.File); ok {
		columns, rows, _ = term.GetSize(int(f.Fd()))
	}
	return columns, rows
}
