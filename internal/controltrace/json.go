package controltrace

import (
	"encoding/json"
	"time"
)

// MarshalJSON writes the message for programs. Nobody reads it back.
func (r Record) MarshalJSON() ([]byte, error) {
	type numbers struct {
		Ns uint16 `json:"ns"`
		Nr uint16 `json:"nr"`
	}
	of := func(e End) *numbers {
		if !e.Sees {
			return nil
		}
		return &numbers{e.Ns, e.Nr}
	}
	return json.Marshal(struct {
		Time           time.Time `json:"time"`
		ToPeer         bool      `json:"to_peer"`
		Type           string    `json:"type"`
		Xl2tpd         *numbers  `json:"xl2tpd"` // null: xl2tpd does not see it
		Peer           *numbers  `json:"peer"`   // null: the peer does not see it
		Session        uint16    `json:"session,omitempty"`
		Attributes     []string  `json:"attributes,omitempty"`
		Retransmission bool      `json:"retransmission,omitempty"`
		Verdict        string    `json:"verdict,omitempty"`
		Reason         string    `json:"reason,omitempty"`
	}{
		r.Time, r.ToPeer, r.TypeName(), of(r.Xl2tpd), of(r.Peer), r.message().Session, r.attributes(), r.Again, r.Did(), r.why(),
	})
}
