//go:build lab

package vici

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// within runs a command with a deadline and logs how long it took.
func within(t *testing.T, limit time.Duration, what string, command func(context.Context) error) (err error, took time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	begin := time.Now()
	err = command(ctx)
	took = time.Since(begin)
	t.Logf("%s: after %v: %v", what, took.Round(time.Millisecond), err)
	if took > limit+100*time.Millisecond {
		t.Errorf("%s: %v, limit %v", what, took, limit)
	}
	return err, took
}

func initiateL2TP(ctx context.Context) error {
	return new(Commander).Initiate(ctx, "l2tp", "l2tp-peer")
}

// only returns the one IKE SA there is.
func only(t *testing.T) SA {
	t.Helper()
	sas := now(t)
	if len(sas) != 1 {
		t.Fatalf("SAs: %+v", sas)
	}
	return sas[0]
}

func now(t *testing.T) []SA {
	t.Helper()
	s, err := open(t.Context(), nil, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sas, err := s.list(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return sas
}

// edit changes a line of the configuration at both ends, or at this one only.
func edit(t *testing.T, change string, both bool) {
	t.Helper()
	shell(t, "sed", "-i", change, "/etc/swanctl/conf.d/l2tp.conf")
	shell(t, "swanctl", "--load-conns")
	if both {
		shell(t, "sed", "-i", change, "/var/lib/charon-peer/l2tp.conf")
		shell(t, "nsenter", "-t", strings.TrimSpace(shell(t, "cat", "/run/charon-peer.pid")), "-m", "-n", "swanctl", "--load-conns")
	}
}

// cut drops all packets to the peer silently; restore ends that.
func cut(t *testing.T) {
	t.Helper()
	shell(t, "ip", "neigh", "replace", "192.0.2.2", "lladdr", "02:00:00:00:00:99", "dev", "peer0")
}

func restore(t *testing.T) {
	t.Helper()
	shell(t, "ip", "neigh", "del", "192.0.2.2", "dev", "peer0")
}

// A CHILD SA that takes only what is led to it shows that.
func TestRealRouteBased(t *testing.T) {
	for _, by := range []string{"if_id_out", "mark_out"} {
		t.Run(by, func(t *testing.T) {
			charons(t)
			edit(t, `s/mode = transport/mode = tunnel\n`+by+` = 42/`, true)
			if err, _ := within(t, 20*time.Second, "initiate", initiateL2TP); err != nil {
				t.Fatal(err)
			}
			if sa := only(t); len(sa.Children) != 1 || !sa.Children[0].RouteBased {
				t.Errorf("got %+v, want one route-based child", sa)
			}
		})
	}
}

func TestRealCommands(t *testing.T) {
	for _, version := range []string{"1", "2"} {
		t.Run("IKEv"+version, func(t *testing.T) {
			charons(t)
			edit(t, "s/version = 1/version = "+version+"/", true)
			for range 3 {
				if err, _ := within(t, 20*time.Second, "initiate", initiateL2TP); err != nil {
					t.Fatal(err)
				}
				sa := only(t)
				if sa.State != "ESTABLISHED" || len(sa.Children) != 1 || sa.Children[0].State != "INSTALLED" {
					t.Errorf("got %+v, want it established, with one installed child", sa)
				}
				end := func(ctx context.Context) error {
					return new(Commander).TerminateIKE(ctx, sa.UniqueID, sa.Name, sa.RemoteHost.Addr())
				}
				if err, _ := within(t, 10*time.Second, "terminate", end); err != nil {
					t.Error(err)
				}
				if left := now(t); len(left) > 0 {
					t.Errorf("left: %+v", left)
				}
				if err, _ := within(t, 10*time.Second, "terminate what is not there", end); err != nil {
					t.Error(err)
				}
			}

			cut(t)
			if err, _ := within(t, 6*time.Second, "initiate to a dead peer", initiateL2TP); err == nil || !strings.Contains(err.Error(), "not established after ") {
				t.Error(err)
			}
			if left := now(t); len(left) > 0 {
				t.Errorf("left: %+v", left)
			}
			// So the next attempt starts afresh.
			restore(t)
			if err, took := within(t, 20*time.Second, "initiate when it is back", initiateL2TP); err != nil || took > 5*time.Second {
				t.Error(err)
			}

			// An established SA with a dead peer: a second CHILD SA fails, and
			// the SA is ended in time.
			cut(t)
			if err, _ := within(t, 6*time.Second, "initiate by an SA of a dead peer", initiateL2TP); err == nil {
				t.Error("initiate succeeded, although the peer is dead")
			}
			sa := only(t)
			end := func(ctx context.Context) error {
				return new(Commander).TerminateIKE(ctx, sa.UniqueID, sa.Name, sa.RemoteHost.Addr())
			}
			if err, _ := within(t, 4*time.Second, "terminate that of a dead peer", end); err != nil {
				t.Error(err)
			}
			if left := now(t); len(left) > 0 {
				t.Errorf("left: %+v", left)
			}
			restore(t)
			if err, _ := within(t, 20*time.Second, "initiate when it is back", initiateL2TP); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRealRefusals(t *testing.T) {
	charons(t)
	err, _ := within(t, 5*time.Second, "no such child", func(ctx context.Context) error { return new(Commander).Initiate(ctx, "l2tp", "nobody") })
	if err == nil || err.Error() != "vici: initiate nobody/l2tp: CHILD_SA config 'l2tp' not found" {
		t.Error(err)
	}
	edit(t, "s/secret = .*/secret = wrong/", false)
	shell(t, "swanctl", "--load-creds", "--noprompt")
	if err, _ := within(t, 6*time.Second, "wrong PSK", initiateL2TP); err == nil {
		t.Error("initiate succeeded, although the PSK is wrong")
	}
	if left := now(t); len(left) > 0 {
		t.Errorf("left: %+v", left)
	}

	shell(t, "systemctl", "kill", "--signal=STOP", "--kill-who=main", "strongswan.service")
	err, _ = within(t, 3*time.Second, "charon hangs", initiateL2TP)
	if err == nil || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
	shell(t, "systemctl", "kill", "--signal=CONT", "--kill-who=main", "strongswan.service")
}

func TestRealConnections(t *testing.T) {
	charons(t)
	look := func() []Connection {
		t.Helper()
		all, err := new(Commander).Connections(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range all {
			for j := range all[i].Children {
				// Protocol and port are names or numbers, by the system's /etc/protocols.
				for k, ts := range all[i].Children[j].RemoteTS {
					all[i].Children[j].RemoteTS[k], _, _ = strings.Cut(ts, "[")
				}
			}
		}
		return all
	}
	child := ChildConfig{Name: "l2tp", Mode: "TRANSPORT", RemoteTS: []string{"dynamic"}}
	want := []Connection{{Name: "l2tp-peer", RemoteAddrs: []string{"192.0.2.2"}, Children: []ChildConfig{child}}}
	if diff := cmp.Diff(want, look()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	edit(t, "s/version = 1/&\\ndpd_delay = 30s/", false)
	want[0].DPDDelay = 30 * time.Second
	if diff := cmp.Diff(want, look()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}
