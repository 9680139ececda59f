package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// exampleHook is a copy of the hook that is delivered, with a configuration.
type exampleHook struct {
	t   *testing.T
	dir string
}

func newExampleHook(t *testing.T, conf string) exampleHook {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "hook") // a folder that another user can reach
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := exampleHook{t, dir}
	h.write("keepalive-hook", read(t, "hook/keepalive-hook"), 0o755)
	h.write("keepalive-hook.conf", conf, 0o644)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h exampleHook) write(name, text string, mode os.FileMode) {
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), mode); err != nil {
		h.t.Fatal(err)
	}
}

// run runs the hook as the unit does: as another user, who can gain no rights, with a few variables alone.
func (h exampleHook) run(event string) (string, error) {
	args := []string{filepath.Join(h.dir, "keepalive-hook"), event}
	if os.Geteuid() == 0 {
		args = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--bounding-set=-all"}, args...)
	}
	c := exec.Command(args[0], args[1:]...)
	c.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "EVENT=" + event,
		`TUNNEL=lac "Büro\1"`, "REASON=3 echo requests unanswered"}
	out, err := c.CombinedOutput()
	return string(out), err
}

const exampleText = `: lac "Büro\1" is silent (3 echo requests unanswered)`

// The hook posts valid JSON in the form of each service, and does so for the events that matter.
func TestHookPosts(t *testing.T) {
	type post struct {
		body          map[string]any
		authorization string
	}
	posts := make(chan post, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := post{authorization: r.Header.Get("Authorization")}
		if err := json.NewDecoder(r.Body).Decode(&p.body); err != nil {
			t.Error(err)
		}
		posts <- p
	}))
	defer server.Close()
	posted := func() (p post) { // zero: nothing was posted
		select {
		case p = <-posts:
		default:
		}
		return p
	}
	first := func(v any, key string) any { return v.(map[string]any)[key].([]any)[0] }
	for to, text := range map[string]func(got map[string]any) any{
		"slack": func(got map[string]any) any { return got["text"] },
		"teams": func(got map[string]any) any {
			return first(first(got, "attachments").(map[string]any)["content"], "body").(map[string]any)["text"]
		},
		"line": func(got map[string]any) any { return first(got, "messages").(map[string]any)["text"] },
	} {
		h := newExampleHook(t, "to="+to+"\nurl="+server.URL+"\ntoken=secret\nid=U1\n")
		out, err := h.run("up")
		if got := posted(); err != nil || out != "" || got.body != nil {
			t.Errorf("%s: up: %q %v %v, want nothing", to, out, err, got)
		}
		out, err = h.run("silent")
		got := posted()
		if err != nil || out != "" || got.body == nil {
			t.Errorf("%s: got %q %v, want no output, and a message to the receiver", to, out, err)
			continue
		}
		if s, _ := text(got.body).(string); !strings.HasSuffix(s, exampleText) || got.authorization != "Bearer secret" {
			t.Errorf("%s: got %v, want the event's text and the secret", to, got)
		}
	}
}

// The hook gives a mail to a server.
func TestHookMails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	mail := make(chan string, 1)
	go serveMail(l, mail)
	h := newExampleHook(t, "to=mail\nurl=smtp://"+l.Addr().String()+"\nfrom=host@example.com\nrcpt=you@example.com\n")
	if out, err := h.run("silent"); err != nil {
		t.Fatal(out, err)
	}
	got := <-mail
	for _, want := range []string{"\r\nSubject: xl2tpd-keepalive: a tunnel is silent\r\n", "\r\nTo: you@example.com\r\n", exampleText + "\r\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}

// serveMail takes one mail, as RFC 5321 has it.
func serveMail(l net.Listener, mail chan<- string) {
	c, err := l.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	io.WriteString(c, "220 x\r\n")
	var text strings.Builder
	inMail := false
	for lines := bufio.NewReader(c); ; {
		line, err := lines.ReadString('\n')
		switch {
		case err != nil:
			return
		case inMail && line == ".\r\n":
			inMail = false
			mail <- text.String()
			io.WriteString(c, "250 x\r\n")
		case inMail:
			text.WriteString(line)
		case strings.HasPrefix(line, "DATA"):
			inMail = true
			io.WriteString(c, "354 x\r\n")
		case strings.HasPrefix(line, "QUIT"):
			io.WriteString(c, "221 x\r\n")
			return
		default:
			io.WriteString(c, "250 x\r\n")
		}
	}
}

func TestHookFails(t *testing.T) {
	if out, err := newExampleHook(t, "to=fax\n").run("down"); err == nil || !strings.Contains(out, "to=fax, must be slack, teams, line or mail") {
		t.Errorf("got %q %v, want an error that lists the values of to", out, err)
	}
	refused := httptest.NewServer(http.NotFoundHandler())
	defer refused.Close()
	if out, err := newExampleHook(t, "to=slack\nurl="+refused.URL+"\n").run("down"); err == nil || !strings.Contains(out, "404") {
		t.Errorf("got %q %v, want an error with the status 404", out, err)
	}
}
