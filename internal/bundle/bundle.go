// Package bundle collects what somebody else needs to find out why tunnels close: the state of this program and of the
// host, without any secret.
package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/doctor"
	"xl2tpd-keepalive/internal/message"
	"xl2tpd-keepalive/internal/status"
	"xl2tpd-keepalive/internal/xl2tpd"
	"xl2tpd-keepalive/internal/xl2tpdconf"
)

// Source is where a bundle comes from. Tests replace its funcs.
type Source struct {
	Root      string // "/" except in tests
	Now       time.Time
	Version   string
	Hostname  string
	Status    status.Status
	StatusErr error // why there is no Status
	Findings  []doctor.Finding
	Instances []xl2tpd.Instance
	Names     []string // of connections, that an anonymous bundle hides
	// Recordings are what the flight recorders have of control connections.
	Recordings    []controltrace.Recording
	RecordingsErr error // why there are none
	Run           func(ctx context.Context, name string, args ...string) ([]byte, error)

	AnonymousKey []byte // random; empty: the bundle is not anonymous
}

// Bundle is what goes into the archive.
type Bundle struct {
	Name  string // of the folder in the archive
	Files []File
	Left  []message.Text // what was left out, and why
}

// File is one file of the archive.
type File struct {
	Name string
	Text string

	binary bool // nothing can be replaced in it
}

// run runs a program. Its errors contain the program's standard error.
func run(ctx context.Context, name string, args ...string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		said, _, _ := strings.Cut(strings.TrimSpace(string(exit.Stderr)), "\n")
		return out, fmt.Errorf("%s: %v: %s", name, exit, said)
	}
	return out, err
}

// Collect makes a bundle. What can't be had is named as left out.
func Collect(ctx context.Context, s Source) *Bundle {
	b := &Bundle{Name: "xl2tpd-keepalive-report-" + s.Now.Format("20060102-150405")}
	c := collector{Source: s, Bundle: b, ctx: ctx, taken: map[string]bool{}, asSecret: map[string]bool{}}
	c.state()
	c.host()
	c.configuration()
	c.secrets()
	c.scrub = newScrubber(c.hidden, c.sources)
	if len(s.AnonymousKey) > 0 {
		c.anonymous = newAnonymiser(s.AnonymousKey, c.allNames())
	}
	c.control()
	c.add("README.txt", c.readme())
	c.clean()
	return b
}

type collector struct {
	Source
	*Bundle
	ctx context.Context

	taken    map[string]bool // configuration files that have been read
	asSecret map[string]bool // the same of files of secrets
	sources  []string        // the whole texts of the configuration files
	hidden   []string        // the texts of the files of secrets

	scrub     scrubber
	anonymous *anonymiser // nil: the bundle is not anonymous
}

// most is how much of a file is taken.
const most = 4 << 20

func (c *collector) add(name, text string) {
	if len(text) > most {
		text = text[len(text)-most:]
		c.leave("the beginning of %s, which is longer than 4 MiB", name)
	}
	c.Files = append(c.Files, File{Name: name, Text: text})
}

// text returns the text of a file that was added; empty: there is none.
func (c *collector) text(name string) string {
	i := slices.IndexFunc(c.Files, func(f File) bool { return f.Name == name })
	if i < 0 {
		return ""
	}
	return c.Files[i].Text
}

func (c *collector) leave(format message.Format, a ...any) {
	c.Left = append(c.Left, message.Sprintf(format, a...))
}

func (c *collector) path(name string) string { return filepath.Join(c.Root, name) }

func (c *collector) read(name string) (string, error) {
	b, err := xl2tpdconf.Read(c.path(name))
	return string(b), err
}

// glob returns the names that match, as they are without Root.
func (c *collector) glob(pattern string) (names []string) {
	found, _ := filepath.Glob(c.path(pattern))
	for _, path := range found {
		name, _ := strings.CutPrefix(path, filepath.Clean(c.Root))
		names = append(names, "/"+strings.TrimPrefix(name, "/"))
	}
	return names
}

// clean takes secrets out of every file, and then names and addresses if that is wanted.
func (c *collector) clean() {
	for i := range c.Files {
		if c.Files[i].binary {
			continue
		}
		text := c.scrub.clean(c.Files[i].Text)
		if c.anonymous != nil {
			text = c.anonymous.text(text)
			c.Files[i].Name = c.anonymous.text(c.Files[i].Name)
		}
		c.Files[i].Text = text
	}
	if c.anonymous != nil {
		for i := range c.Left {
			c.Left[i] = message.Text(c.anonymous.text(c.Left[i].Marked()))
		}
	}
}

// Write writes the archive. Only its owner may read what is unpacked.
func (b *Bundle) Write(w io.Writer, now time.Time) error {
	zipped := gzip.NewWriter(w)
	archive := tar.NewWriter(zipped)
	for _, f := range b.Files {
		head := tar.Header{
			Name: b.Name + "/" + f.Name, Mode: 0o600, Size: int64(len(f.Text)), ModTime: now, Typeflag: tar.TypeReg,
		}
		if err := archive.WriteHeader(&head); err != nil {
			return err
		}
		if _, err := io.WriteString(archive, f.Text); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), zipped.Close())
}

// Save writes the archive into a new file that only its owner may read.
func (b *Bundle) Save(path string, now time.Time) error {
	var data bytes.Buffer
	if err := b.Write(&data, now); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data.Bytes())
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(path)
	}
	return err
}
