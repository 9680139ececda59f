package xl2tpd

import (
	"bytes"

	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// Unknown is a key that is not xl2tpd's. Its parser ends with one (file.c, parse_config), and so does the start of
// xl2tpd. A later or a patched xl2tpd may have the key.
type Unknown struct {
	Name string
	Line int
}

// UnknownKey says that xl2tpd does not start because of a key.
type UnknownKey struct {
	Text    message.Text
	Certain bool // the executable does not have the key; else that is not known
}

// UnknownKeys returns the keys that neither an xl2tpd up to 1.3.20 has nor this host's executable; nil: there is none to
// be read. The names of its keys are C strings in it (file.c, words).
func (c *Conf) UnknownKeys(executable []byte) (all []UnknownKey) {
	lower := bytes.ToLower(executable)
	for _, k := range c.Unknown {
		name := xl2tpdconf.Quote(k.Name)
		switch {
		case executable == nil:
			all = append(all, UnknownKey{Text: message.Sprintf(
				"%s:%d: xl2tpd knows no %s up to 1.3.20, and does not start with it; a later one may", c.Path, k.Line, name)})
		case !bytes.Contains(lower, []byte("\x00"+k.Name+"\x00")):
			all = append(all, UnknownKey{message.Sprintf("%s:%d: xl2tpd knows no %s, and does not start with it", c.Path, k.Line, name), true})
		}
	}
	return all
}
