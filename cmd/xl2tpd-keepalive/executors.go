package main

import (
	"context"

	"xl2tpd-keepalive/internal/hook"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor"
)

// executors passes the actions of the loop on to the parts of the service.
type executors struct{ s *service }

func (e executors) StartEchoes(all []probe.Request) { e.s.pinger.Start(all) }

func (e executors) CancelEcho(link supervisor.LinkKey) { e.s.pinger.Cancel(link.Name, link.Index) }

func (e executors) Received(indexes []int) []ppp.Count { return e.s.links.Received(indexes) }

func (e executors) Recover(ctx context.Context, r supervisor.Recover) error {
	return e.s.executor.Do(ctx, r)
}

func (e executors) LookUp(host string) { e.s.xl2tpds.Resolve(host) }

func (e executors) CallHook(ev hook.Event) { e.s.hooks.Call(ev) }
