package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"xl2tpd-keepalive/internal/message"
)

const watchEvery = time.Second

// watch prints a page each second, for a file or a pipe. It continues without the service, which may come back.
func watch(ctx context.Context, o options, look func(io.Writer) error, stdout, stderr io.Writer) int {
	again := time.NewTicker(watchEvery)
	defer again.Stop()
	for {
		var text strings.Builder
		err := look(&text)
		if ctx.Err() != nil {
			return exitOK
		}
		switch {
		case err != nil && o.json: // standard output is for JSON objects only
			o.fail(stderr, err)
		case err != nil:
			o.fail(&text, err)
		}
		if _, err := io.WriteString(stdout, text.String()); err != nil {
			return exitError
		}
		select {
		case <-ctx.Done():
			return exitOK
		case <-again.C:
		}
	}
}

// Control sequences of xterm and similar terminals.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l" // the alternate screen, without a cursor, and no line wraps
	leaveScreen = "\x1b[?7h\x1b[?25h\x1b[?1049l"
)

// watchScreen shows a page each second on the alternate screen. It restores the terminal at the end, and while Ctrl-Z
// stops the program.
func watchScreen(ctx context.Context, o options, look func(io.Writer) error, stdout io.Writer) int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTSTP, syscall.SIGWINCH)
	defer signal.Stop(signals)
	again := time.NewTicker(watchEvery)
	defer again.Stop()
	io.WriteString(stdout, enterScreen)
	defer io.WriteString(stdout, leaveScreen)
	text := ""
	for fresh := true; ; {
		if fresh {
			text = lookedUp(o, look)
		}
		if ctx.Err() != nil {
			return exitOK
		}
		columns, rows := size(stdout)
		if _, err := io.WriteString(stdout, repaint(clip(text, columns, rows, o.lang))); err != nil {
			return exitError
		}
		fresh = true
		select {
		case <-ctx.Done():
			return exitOK
		case s := <-signals:
			if s == syscall.SIGTSTP {
				io.WriteString(stdout, leaveScreen)
				syscall.Kill(os.Getpid(), syscall.SIGSTOP) // until the shell's fg
				io.WriteString(stdout, enterScreen)
			}
			fresh = false
		case <-again.C:
		}
	}
}

func lookedUp(o options, look func(io.Writer) error) string {
	var text strings.Builder
	if err := look(&text); err != nil { // the service may come back
		o.fail(&text, err)
	}
	return text.String()
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

// clip cuts a page to the size of a terminal, less the row of the cursor.
func clip(text string, columns, rows int, lang *message.Language) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if most := rows - 1; rows > 2 && len(lines) > most {
		more := len(lines) - most + 1
		lines = append(lines[:most-1:most-1], lang.Sprintf("… more lines: %d; name tunnels, or use --short", more))
	}
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(cut(line, columns) + "\n")
	}
	return b.String()
}

var colour = regexp.MustCompile("^\x1b\\[[0-9;]*m")

// cut shortens a line to the columns. It keeps the colour sequences behind the cut, so that colours end.
func cut(line string, columns int) string {
	if columns < 1 || width(line) <= columns {
		return line
	}
	var b strings.Builder
	for used := 0; line != ""; {
		if c := colour.FindString(line); c != "" {
			b.WriteString(c)
			line = line[len(c):]
			continue
		}
		r, n := utf8.DecodeRuneInString(line)
		if used += message.Cells(r); used < columns {
			b.WriteRune(r)
		} else if used-message.Cells(r) < columns {
			b.WriteRune('…')
			used = columns + 1
		}
		line = line[n:]
	}
	return b.String()
}

// width returns how many columns a line takes.
func width(line string) (n int) {
	for line != "" {
		if c := colour.FindString(line); c != "" {
			line = line[len(c):]
			continue
		}
		r, size := utf8.DecodeRuneInString(line)
		n += message.Cells(r)
		line = line[size:]
	}
	return n
}
