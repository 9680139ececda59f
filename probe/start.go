package probe

import (
	"context"
	"fmt"
	"time"
)

// Start sends many echo requests with few system calls. Their results come to Done, each within its request's Timeout.
// Before Run has opened the socket they wait for that.
func (p *Pinger) Start(reqs []Request) {
	p.init()
	p.mu.Lock()
	defer p.unlock()
	now := time.Now()
	for _, req := range reqs {
		req.Target = req.Target.Unmap()
		w := p.take()
		w.req, w.deadline = req, now.Add(req.Timeout)
		switch err := p.startable(w); {
		case err != nil:
			p.end(w, 0, err)
		case p.socket != nil:
			p.queue(w)
		}
		p.fireAt(now.Add(req.Timeout))
	}
	if p.socket != nil {
		p.flush()
	}
}

// startable takes a sequence number for an echo, unless it can't be sent. p.mu is held.
func (p *Pinger) startable(w *pendingEcho) error {
	switch {
	case !w.req.Target.Is4():
		return fmt.Errorf("%w: target is no IPv4 address", ErrSend)
	case p.socket == nil && p.err != nil:
		return p.err
	}
	return p.expect(w)
}

// sendEarly sends the echo requests that were started before there was a socket. If there is none, they fail. p.mu is
// held.
func (p *Pinger) sendEarly() {
	for _, w := range p.waiting {
		switch {
		case w.reply != nil || !w.sent.IsZero():
		case p.socket == nil:
			p.end(w, 0, p.err)
		default:
			p.queue(w)
		}
	}
	if p.socket != nil {
		p.flush()
	}
}

// Cancel ends the echoes of Start through a link. Their results have the error context.Canceled.
func (p *Pinger) Cancel(link string, index int) {
	p.init()
	p.mu.Lock()
	defer p.unlock()
	for _, w := range p.waiting {
		if w.reply == nil && w.req.Link == link && w.req.Index == index {
			p.end(w, 0, context.Canceled)
		}
	}
}

const (
	// shortestPause and longestPause are how long after a request its reply is read, if the latest round trips do not ask
	// for less or more. Each next pause is twice as long, up to longestPause.
	shortestPause = 20 * time.Millisecond
	longestPause  = 500 * time.Millisecond
	// promptPause is the first one where somebody waits for the reply of a single request.
	promptPause = time.Millisecond
)

// look reads the replies, and ends the echoes whose time is over.
func (p *Pinger) look() {
	p.mu.Lock()
	defer p.unlock()
	p.fires = time.Time{}
	p.read()
	now := time.Now()
	for _, w := range p.waiting {
		switch {
		case w.reply != nil:
		case w.deadline.After(now):
			p.fireAt(w.deadline)
		case w.sent.IsZero():
			p.end(w, 0, fmt.Errorf("%w: the ICMP socket is not open", ErrSend))
		default:
			p.end(w, 0, fmt.Errorf("%w within %s", ErrTimeout, w.req.Timeout))
		}
	}
	if len(p.waiting) > 0 { // even a timer that is stopped in time would wake the program up
		p.pause = min(2*p.pause, longestPause)
		p.fireAt(now.Add(p.pause))
	}
}

// read takes in the replies that have come. p.mu is held.
func (p *Pinger) read() {
	for p.socket != nil {
		n, err := p.socket.receive(p.replies)
		if err != nil {
			select {
			case p.socket.failed <- err:
			default: // it has failed before
			}
		}
		now := time.Now()
		for i := range n {
			if seq, token, ok := parseReply(p.replies.packet(i), p.socket.id); ok {
				p.answered(seq, token, p.replies.came(i, now))
			}
		}
		if n < batchSize {
			return
		}
	}
}

// take returns a pendingEcho that is not in use. p.mu is held.
func (p *Pinger) take() *pendingEcho {
	if last := len(p.free) - 1; last >= 0 {
		w := p.free[last]
		p.free = p.free[:last]
		return w
	}
	return new(pendingEcho)
}

// end ends an echo of Start: with a reply if reason is nil. p.mu is held.
func (p *Pinger) end(w *pendingEcho, rtt time.Duration, reason error) {
	res := Result{Link: w.req.Link, Index: w.req.Index, Target: w.req.Target, RTT: rtt}
	if reason != nil {
		res.Err = echoError(w.req, reason)
	}
	p.results = append(p.results, res)
	if p.waiting[w.seq] == w {
		delete(p.waiting, w.seq)
	}
	*w = pendingEcho{}
	p.free = append(p.free, w)
}

// unlock stops the timer if no echo is left, unlocks p.mu, and passes on the results.
func (p *Pinger) unlock() {
	if len(p.waiting) == 0 && !p.fires.IsZero() {
		p.timer.Stop()
		p.fires = time.Time{}
	}
	results := p.results
	p.results = nil
	p.mu.Unlock()
	if len(results) > 0 {
		p.Done(results)
	}
}

// fireAt makes the timer fire no later than at. p.mu is held.
func (p *Pinger) fireAt(at time.Time) {
	if !p.fires.IsZero() && !at.Before(p.fires) {
		return
	}
	if p.fires = at; p.timer == nil {
		p.timer = time.AfterFunc(time.Until(at), p.look)
	} else {
		p.timer.Reset(time.Until(at))
	}
}
