package vici

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	govici "github.com/strongswan/govici/vici"
)

// execute runs a command of a Commander at a charon that answers as told, and
// returns what charon received, the error and how long it took.
func execute(t *testing.T, c *charon, limit time.Duration, command func(context.Context, *Commander) error) (commands []string, err error, took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		if limit > 0 {
			limited, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			ctx = limited
		}
		begin := time.Now()
		err = command(ctx, &Commander{dial: c.dial})
		took = time.Since(begin)
	})
	return c.commands, err, took
}

func initiate(ctx context.Context, c *Commander) error { return c.Initiate(ctx, "l2tp", "tokyo") }

func terminate(ctx context.Context, c *Commander) error {
	return c.TerminateIKE(ctx, "7", "tokyo", netip.MustParseAddr("192.0.2.1"))
}

func TestInitiate(t *testing.T) {
	c := &charon{answer: func(string) ([]*govici.Message, *govici.Message) {
		time.Sleep(20 * time.Second) // longer than govici waits without a deadline
		return nil, fields(t, "success", "yes")
	}}
	got, err, took := execute(t, c, 0, initiate)
	if want := []string{"initiate child=l2tp ike=tokyo timeout=29000 loglevel=0"}; err != nil || !slices.Equal(got, want) || took != 20*time.Second {
		t.Errorf("%v after %v: %v", got, took, err)
	}
	if len(c.subscribe) > 0 {
		t.Errorf("asked for %v", c.subscribe)
	}
}

// Initiate ends only the IKE SAs that this side has begun and that are not established.
func TestInitiateFails(t *testing.T) {
	half := func(id, state, initiator string) *govici.Message {
		return fields(t, "tokyo", fields(t, "uniqueid", id, "state", state, "initiator", initiator))
	}
	c := &charon{}
	c.answer = func(command string) ([]*govici.Message, *govici.Message) {
		switch name, _, _ := strings.Cut(command, " "); name {
		case "initiate":
			time.Sleep(9 * time.Second)
			return nil, fields(t, "success", "no", "errmsg", "CHILD_SA 'l2tp' not established\nafter 9000ms")
		case "list-sas":
			renewed := fields(t, "tokyo", fields(t, "uniqueid", "4", "state", "CONNECTING", "initiator", "yes",
				"child-sas", fields(t, "l2tp-1", fields(t, "state", "INSTALLED"))))
			return []*govici.Message{half("1", "ESTABLISHED", "yes"), half("2", "CONNECTING", ""), half("3", "CONNECTING", "yes"), renewed}, nil
		default:
			return nil, fields(t, "success", "yes")
		}
	}
	got, err, took := execute(t, c, 10*time.Second, initiate)
	want := []string{"initiate child=l2tp ike=tokyo timeout=9000 loglevel=0", "list-sas ike=tokyo", "list-sas ike-id=3", "terminate ike-id=3 force=yes timeout=500 loglevel=0"}
	if !slices.Equal(got, want) || took != 9*time.Second {
		t.Errorf("%q after %v", got, took)
	}
	if want := "vici: initiate tokyo/l2tp: CHILD_SA 'l2tp' not established after 9000ms"; err == nil || err.Error() != want {
		t.Errorf("got %v, want charon's own message", err)
	}
}

// A charon that hangs holds nobody up.
func TestCommandUnanswered(t *testing.T) {
	for what, command := range map[string]func(context.Context, *Commander) error{"initiate": initiate, "terminate": terminate} {
		c := &charon{silent: map[string]bool{"initiate": true, "terminate": true, "list-sa": true}}
		_, err, took := execute(t, c, 9*time.Second, command)
		if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "\n") || took != 9*time.Second {
			t.Errorf("%s: after %v: %v", what, took, err)
		}
	}
	for what, command := range map[string]func(context.Context, *Commander) error{"initiate": initiate, "terminate": terminate} {
		c := &charon{refuse: fs.ErrPermission}
		_, err, took := execute(t, c, 0, command)
		if err == nil || !strings.HasPrefix(err.Error(), "/run/charon.vici: permission denied") || took != 0 || len(c.dialled) != 1 {
			t.Errorf("%s: after %v: %v", what, took, err)
		}
	}
}

// TerminateIKE ends the SA with that id only if it is of that connection and with that remote address.
func TestTerminateIKE(t *testing.T) {
	is := func(name, host, state string) []*govici.Message {
		return []*govici.Message{fields(t, name, fields(t, "uniqueid", "7", "state", state, "remote-host", host, "remote-port", "4500"))}
	}
	tokyo := is("tokyo", "192.0.2.1", "ESTABLISHED")
	for _, test := range []struct {
		what          string
		before, after []*govici.Message // what charon lists
		success       string            // of the command; empty: it must not come
		want          string
	}{
		{"gone", tokyo, nil, "yes", ""},
		{"ended without an answer", tokyo, nil, "no", ""},
		{"stays", tokyo, is("tokyo", "192.0.2.1", "DELETING"), "no", "vici: terminate IKE SA 7: terminating SA failed, it is DELETING"},
		{"gone, and its id is another's", tokyo, is("osaka", "192.0.2.2", "CONNECTING"), "no", ""},
		{"of the peer in its IPv6 form", is("tokyo", "::ffff:192.0.2.1", "ESTABLISHED"), nil, "yes", ""},
		{"was not there", nil, nil, "", ""},
		{"another connection's", is("osaka", "192.0.2.1", "ESTABLISHED"), nil, "", ""},
		{"of another peer of the connection", is("tokyo", "192.0.2.2", "ESTABLISHED"), nil, "", ""},
		{"of an IPv6 peer of the connection", is("tokyo", "2001:db8::1", "ESTABLISHED"), nil, "", ""},
		{"of a peer not yet known", is("tokyo", "%any", "CONNECTING"), nil, "", ""},
	} {
		var lists int
		c := &charon{answer: func(command string) ([]*govici.Message, *govici.Message) {
			if strings.HasPrefix(command, "terminate") {
				return nil, fields(t, "success", test.success, "errmsg", "terminating SA failed")
			}
			if lists++; lists == 1 {
				return test.before, nil
			}
			return test.after, nil
		}}
		got, err, _ := execute(t, c, 5*time.Second, terminate)
		want := []string{"list-sas ike-id=7", "terminate ike-id=7 force=yes timeout=4000 loglevel=0", "list-sas ike-id=7"}
		switch test.success {
		case "":
			want = want[:1]
		case "yes":
			want = want[:2]
		}
		if !slices.Equal(got, want) || len(c.dialled) != 1 {
			t.Errorf("%s: the commands are %q, in %d sessions", test.what, got, len(c.dialled))
		}
		if (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
			t.Errorf("%s: error: %v, want %q", test.what, err, test.want)
		}
	}
	// charon would take these for every SA.
	for _, id := range []string{"", "0", "all", "-1", "7 8"} {
		c := &charon{}
		got, err, _ := execute(t, c, 0, func(ctx context.Context, c *Commander) error {
			return c.TerminateIKE(ctx, id, "tokyo", netip.MustParseAddr("192.0.2.1"))
		})
		if err == nil || len(got) > 0 {
			t.Errorf("%q: got %v %v, want an error, and no command", id, got, err)
		}
	}
}

// charon ends, and a new one answers, once the SA has been found. The new one does not get the command: it may have given
// the id to another SA.
func TestTerminateIKEOfEarlierCharon(t *testing.T) {
	c := &charon{}
	c.answer = func(command string) ([]*govici.Message, *govici.Message) {
		c.die()
		return []*govici.Message{fields(t, "tokyo", fields(t, "uniqueid", "7", "remote-host", "192.0.2.1", "remote-port", "4500"))}, nil
	}
	if got, err, _ := execute(t, c, 5*time.Second, terminate); err == nil || !slices.Equal(got, []string{"list-sas ike-id=7"}) {
		t.Errorf("%q: %v", got, err)
	}
}

func TestConnections(t *testing.T) {
	c := &charon{answer: func(string) ([]*govici.Message, *govici.Message) {
		child := fields(t, "mode", "TRANSPORT", "remote-ts", []string{"dynamic[udp/l2f]"})
		return []*govici.Message{
			fields(t, "tokyo", fields(t, "remote_addrs", []string{"192.0.2.1", "lns.example"}, "dpd_delay", "30",
				"children", fields(t, "l2tp", child, "other", child))),
			fields(t, "osaka", fields(t)),
		}, nil
	}}
	synctest.Test(t, func(t *testing.T) {
		got, err := (&Commander{dial: c.dial}).Connections(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ts := []string{"dynamic[udp/l2f]"}
		want := []Connection{
			{Name: "tokyo", RemoteAddrs: []string{"192.0.2.1", "lns.example"}, DPDDelay: 30 * time.Second, Children: []ChildConfig{
				{Name: "l2tp", Mode: "TRANSPORT", RemoteTS: ts},
				{Name: "other", Mode: "TRANSPORT", RemoteTS: ts},
			}},
			{Name: "osaka"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
	})
}

func TestSAs(t *testing.T) {
	c := &charon{answer: func(command string) ([]*govici.Message, *govici.Message) {
		return []*govici.Message{fields(t, "tokyo", fields(t, "uniqueid", "7")), fields(t, "osaka", fields(t))}, nil
	}}
	var all []SA
	commands, err, _ := execute(t, c, time.Second, func(ctx context.Context, c *Commander) (err error) {
		all, err = c.SAs(ctx)
		return err
	})
	if diff := cmp.Diff([]SA{{Name: "tokyo", UniqueID: "7"}, {Name: "osaka"}}, all,
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" || err != nil || !slices.Equal(commands, []string{"list-sas"}) {
		t.Errorf("%v, %q, want -, got +:\n%s", err, commands, diff)
	}
}
