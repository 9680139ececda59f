//go:build lab

package clamp

import (
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// The kernel gives back what was put in, through a chain of its own and with the hook's number.
func TestLook(t *testing.T) {
	const mark = "CLAMP_TEST_ALONE"
	if os.Getenv(mark) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestLook$")
		cmd.Env = append(os.Environ(), mark+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("in a network namespace of its own (root needed): %v\n%s", err, out)
		}
		return
	}
	if found, err := Look(t.Context(), "ppp0"); err != nil || found != nil {
		t.Fatalf("an empty namespace: %v, %v", found, err)
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "fw"})
	mss := c.AddChain(&nftables.Chain{Table: table, Name: "mss"})
	forward := c.AddChain(&nftables.Chain{
		Table: table, Name: "fwd", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityMangle,
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: forward, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Register: 1, Data: []byte("ppp")},
		&expr.Verdict{Kind: expr.VerdictJump, Chain: "mss"},
	}})
	c.AddRule(&nftables.Rule{Table: table, Chain: mss, Exprs: []expr.Any{
		&expr.Immediate{Register: 1, Data: []byte{0x05, 0x50}},
		&expr.Exthdr{Op: expr.ExthdrOpTcpopt, Type: tcpMSS, Offset: 2, Len: 2, SourceRegister: 1},
	}})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	for link, want := range map[string][]Rule{"ppp0": {{Where: "nft table inet fw, chain fwd, mss", MSS: 1360}}, "eth0": nil} {
		if found, err := Look(t.Context(), link); err != nil || !slices.Equal(found, want) {
			t.Errorf("%s: %+v, %v, want %+v", link, found, err, want)
		}
	}
}
