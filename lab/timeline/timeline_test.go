package timeline

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"
	"time"

	"xl2tpd-keepalive/lab/event"
)

// sample is a run in which one tunnel drops twice in four minutes and the other stays up.
func sample() *Timeline {
	zero := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	t := &Timeline{Span: 4 * time.Minute}
	for _, e := range []event.Event{
		{Kind: event.Mark, Text: MarkStart},
		{Time: zero.Add(time.Second), Kind: event.Up, Tunnel: "b"},
		{Time: zero.Add(1 * time.Second), Kind: event.Up, Tunnel: "a"},
		{Time: zero.Add(61 * time.Second), Kind: event.Down, Tunnel: "a", Reason: "idle"},
		{Time: zero.Add(71 * time.Second), Kind: event.Up, Tunnel: "a"},
		{Time: zero.Add(162 * time.Second), Kind: event.Down, Tunnel: "a", Reason: "hello-unanswered"},
		{Time: zero.Add(240 * time.Second), Kind: event.Mark, Text: "end"},
		{Time: zero.Add(250 * time.Second), Kind: event.Down, Tunnel: "b", Reason: "operator"},
	} {
		if e.Time.IsZero() {
			e.Time = zero
		}
		e.Run = "without"
		t.Add(e)
	}
	return t
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	sample().Table(&b)
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("want a heading and two rows:\n%s", b.String())
	}
	// a was up for 60 + 91 of the 239 s since it first came up; b closed only after the time shown.
	for i, want := range []string{"without a 2 63.2% after 60.0 s: router's idle timer", "without b 0 100.0% none"} {
		if got := strings.Join(strings.Fields(lines[i+1]), " "); got != want {
			t.Errorf("row %d: %q, want %q", i, got, want)
		}
	}
}

func TestBars(t *testing.T) {
	var b bytes.Buffer
	if n := sample().Bars(&b); n != 3 {
		t.Fatalf("%d lines, want 3:\n%s", n, b.String())
	}
	row := strings.Split(b.String(), "\n")[1]
	// 4 s a column, judged at its middle: up from 1 to 61 s and from 71 to 162 s.
	want := strings.Repeat("█", 15) + "··" + strings.Repeat("·", 1) + strings.Repeat("█", 22) + strings.Repeat("·", 20)
	if !strings.Contains(row, want) {
		t.Errorf("bar of a:\n%s\nwant\n%s", row, want)
	}
}

func TestSVG(t *testing.T) {
	var b bytes.Buffer
	sample().SVG(&b)
	for _, want := range []string{"<title id=", "without: tunnels 2, closed 2 times.", `height="4" fill="` + colourGap, `height="16" fill="` + colourUp} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in\n%s", want, b.String())
		}
	}
	rects := 0
	for d := xml.NewDecoder(&b); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			rects++
		}
	}
	if rects != 6 { // the ground, a line for each tunnel, two lives of a, one of b
		t.Errorf("%d rectangles, want 6", rects)
	}
}
