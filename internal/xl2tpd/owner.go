package xl2tpd

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// checkOwner returns nil if the target runs and its process has created the target's pipe. The
// helper is root and gets the target from an unprivileged service. It therefore trusts only /proc,
// and refuses what it cannot verify.
func (c *Control) checkOwner(ctx context.Context, t Target) error {
	p := theProcs()
	if c.procs != nil {
		p = *c.procs
	}
	all := p.all()
	n := slices.IndexFunc(all, func(x process) bool { return x.ID == t.Process })
	if n < 0 {
		return fmt.Errorf("xl2tpd (pid %d) has ended (%w)", t.Process.Pid, unix.ESRCH)
	}
	pid := strconv.Itoa(t.Process.Pid)
	x, err := p.locate(ctx, all[n])
	switch {
	case !filepath.IsAbs(x.pipe):
		return fmt.Errorf("refused, the control pipe of xl2tpd (pid %s) is %s in a folder that is not known (%w); start xl2tpd with the whole path behind -C", pid, x.pipe, err)
	case x.pipe != t.Pipe:
		return fmt.Errorf("refused, the control pipe of xl2tpd (pid %s) is %s", pid, x.pipe)
	case !p.sameFile(pid, x.pipe):
		return fmt.Errorf("refused, xl2tpd (pid %s) has another file there: it runs in a container, or a sandbox hides the pipe", pid)
	}
	for _, later := range all[n+1:] { // a later one has created the pipe again
		if filepath.Base(later.pipe) != filepath.Base(x.pipe) {
			continue
		}
		later, _ = p.locate(ctx, later) // a pipe that cannot be found is not this one
		if later.pipe == x.pipe && p.sameFile(strconv.Itoa(later.Pid), x.pipe) {
			return fmt.Errorf("refused, xl2tpd (pid %d), started later, has taken it from xl2tpd (pid %s); start each with a -C of its own", later.Pid, pid)
		}
	}
	return nil
}
