package controltrace

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"

	"xl2tpd-keepalive/internal/l2tp"
)

func hasSecret(b []byte) bool { return bytes.Contains(b, []byte("TOP")) }

// read returns all events of some frames.
func read(t *testing.T, frames []byte) (all []Event) {
	t.Helper()
	r := NewReader(bytes.NewReader(frames))
	for {
		e, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
}

// Who watches gets each message, and secrets only if they were asked for.
func TestHub(t *testing.T) {
	var h Hub
	for _, r := range story() {
		h.Publish(&tunnel, &r) // nobody watches
	}
	all, err := h.Watch(true)
	if err != nil {
		t.Fatal(err)
	}
	some, err := h.Watch(false)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range story() {
		h.Publish(&tunnel, &r)
	}
	<-all.Wake()
	for i, e := range read(t, all.Take()) {
		want := story()[i]
		want.Time = want.Time.Local()
		if e.Connection != tunnel || !reflect.DeepEqual(e.Record, want) {
			t.Errorf("got  %v\nwant %v", e.Record, want)
		}
	}
	got := read(t, some.Take())
	if len(got) != len(story()) {
		t.Errorf("%d messages", len(got))
	}
	for _, e := range got {
		if hasSecret(e.Record.Payload) {
			t.Errorf("got %q, want no secret", e.Record.Payload)
		}
	}
	all.Close()
	some.Close()
	if h.Watched() {
		t.Error("somebody watches still")
	}
}

// What a slow watcher misses is counted, where it is missing, and the queue is bounded.
func TestSlowWatcher(t *testing.T) {
	var h Hub
	w, err := h.Watch(false)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	large := made(0, true, payload(l2tp.Message{Type: l2tp.TypeSCCRQ}, string(make([]byte, 900))))
	const sent = 3000
	put := func(n int) {
		for range n {
			h.Publish(&tunnel, &large)
		}
	}
	put(sent)
	if len(w.queued) > maxQueued {
		t.Errorf("%d bytes wait", len(w.queued))
	}
	first := read(t, w.Take())
	put(1)
	second := read(t, w.Take())
	missed := first[len(first)-1].Lost
	if missed == 0 || len(first)-1+int(missed) != sent || len(second) != 1 || second[0].Lost != 0 {
		t.Errorf("%d messages and %d missed of %d, then %d", len(first)-1, missed, sent, len(second))
	}
}

func TestFewWatchers(t *testing.T) {
	var h Hub
	for range maxWatchers {
		w, err := h.Watch(false)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
	}
	if _, err := h.Watch(false); !errors.Is(err, errBusy) {
		t.Errorf("got %v, want errBusy", err)
	}
}

func TestRecordingFrames(t *testing.T) {
	var k Recorder
	for _, r := range story() {
		k.Add(&r)
	}
	g := Recording{Connection: tunnel, Ended: began.Local(), Vendor: "router", Records: k.Records()}
	all := read(t, AppendRecording(AppendRecording(nil, g), Recording{Connection: tunnel}))
	n := len(g.Records)
	if len(all) != n+2 || !all[0].Begins || !all[0].Ended.Equal(began) || all[0].Vendor != "router" || all[0].Connection != tunnel ||
		!reflect.DeepEqual(all[n].Record, g.Records[n-1]) || !all[n+1].Begins || !all[n+1].Ended.IsZero() || all[n+1].Vendor != "" {
		t.Errorf("got %+v, want a channel that has ended, its %d messages, and one that has not ended", all, n)
	}
	if _, err := NewReader(bytes.NewReader(NoGuard())).Next(); !errors.Is(err, ErrNoGuard) {
		t.Errorf("got %v, want ErrNoGuard", err)
	}
}

// Whatever comes, the reader gives events or an error.
func FuzzReader(f *testing.F) {
	r := story()[0]
	f.Add(AppendRecording(appendMessage(Begin(), &tunnel, &r), Recording{Connection: tunnel}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		for {
			e, err := r.Next()
			if err != nil {
				return
			}
			Line(e.Connection, "", &e.Record)
			Diagram([]Record{e.Record}, e.Record.Time)
		}
	})
}

// What a message costs while nobody watches, and while somebody does.
func BenchmarkPublish(b *testing.B) {
	r := made(0, true, payload(l2tp.Message{Type: l2tp.TypeHello, Tunnel: 1}))
	b.Run("nobody", func(b *testing.B) {
		var h Hub
		b.ReportAllocs()
		for b.Loop() {
			h.Publish(&tunnel, &r)
		}
	})
	b.Run("one", func(b *testing.B) {
		var h Hub
		w, err := h.Watch(false)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			h.Publish(&tunnel, &r)
			if n++; n%64 == 0 {
				w.Take()
			}
		}
	})
}
