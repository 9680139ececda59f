package supervisor

import "log/slog"

// outbox collects the actions of the step under way. All owners put theirs into the same one, in the order in which the
// loop has to do them.
type outbox struct{ actions []Action }

func (out *outbox) emit(a Action) { out.actions = append(out.actions, a) }

func (out *outbox) log(level slog.Level, text string, attrs ...slog.Attr) {
	out.emit(Note{Level: level, Text: text, Attrs: attrs})
}

// take returns the actions. The slice is the caller's.
func (out *outbox) take() []Action {
	actions := out.actions
	out.actions = nil
	return actions
}
