package xl2tpd

import (
	"context"
	"log/slog"
)

// Look runs a Watcher until the first snapshot and returns that.
func Look(ctx context.Context) (Snapshot, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var first Snapshot
	looked := false
	w := &Watcher{Log: slog.New(slog.DiscardHandler), Deliver: func(s Snapshot) {
		if !looked {
			first, looked = s, true
		}
		cancel()
	}}
	if err := w.Run(ctx); !looked {
		return Snapshot{}, err
	}
	return first, nil
}
