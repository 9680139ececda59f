package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/hook"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/probe"
	"xl2tpd-keepalive/supervisor/recovery/policy"
)

const (
	// maxEchoes is how many echo requests run at the same time. If more tunnels come up together, their requests wait.
	maxEchoes = 512
	// maxCounters is how many readings of counters run at the same time. A reading only waits for the kernel.
	maxCounters = 4
	// maxQuestions is how many recovery steps that only ask run at the same time.
	maxQuestions = 512
)

// Executors carry out the loop's actions. All may be called from many goroutines.
type Executors interface {
	StartEchoes([]probe.Request) // does not block; each result comes to EchoesDone
	CancelEcho(LinkKey)          // its result still comes
	Received(indexes []int) []ppp.Count
	Recover(context.Context, Recover) error
	LookUp(host string)  // does not block; the answer comes with a snapshot of xl2tpd
	CallHook(hook.Event) // does not block
}

// Notifier gets the loop's own state. It is called from the loop's goroutine and must not block.
type Notifier interface {
	Ready()          // once, when every watcher has reported
	Status(string)   // whenever the text changes
	Keep(SavedState) // whenever the saved state changes
	Beat()           // about every half Pulse, as long as the loop works
	Pulse() time.Duration
}

// Loop owns a Core: it feeds it with events and carries out its actions.
type Loop struct {
	core      *Core
	executors Executors
	notifier  Notifier
	log       *slog.Logger
	inbox     *inbox

	echoes    map[LinkKey]bool // under way
	toSend    []probe.Request  // those of the actions, and those that wait until fewer are under way
	toRead    []LinkKey        // of the actions
	counters  workers
	steps     workers // of recovery
	questions workers // recovery steps that only ask
}

// NewLoop makes a loop. It does nothing before Run.
func NewLoop(core *Core, executors Executors, notifier Notifier, log *slog.Logger) *Loop {
	return &Loop{
		core: core, executors: executors, notifier: notifier, log: log, inbox: new(inbox),
		echoes: make(map[LinkKey]bool), counters: workers{free: maxCounters}, steps: workers{free: maxSlots}, questions: workers{free: maxQuestions},
	}
}

// Post adds an event for the core. It never blocks and may be called from any goroutine, also before and after Run.
func (l *Loop) Post(ev Event) { l.inbox.post(ev) }

// EchoesDone adds the results of echo requests. It never blocks and may be called from any goroutine.
func (l *Loop) EchoesDone(results []probe.Result) { l.Post(Results(results)) }

// coreCall is a func that the loop's goroutine calls, so that it may read the core.
type coreCall func(*Core)

// ask returns what look finds in the core, for other goroutines. ok is false if ctx ends first.
func ask[T any](ctx context.Context, l *Loop, look func(*Core) T) (answer T, ok bool) {
	answers := make(chan T, 1) // buffered: nobody receives if ctx has ended
	l.Post(coreCall(func(core *Core) { answers <- look(core) }))
	select {
	case answer = <-answers:
		return answer, true
	case <-ctx.Done():
		return answer, false
	}
}

// LinksOf is Core.LinksOf, for other goroutines. It returns nothing if ctx ends first.
func (l *Loop) LinksOf(ctx context.Context, c helloguard.OwnedConnection) (links []Tunnel, certain bool) {
	type found struct {
		links   []Tunnel
		certain bool
	}
	all, _ := ask(ctx, l, func(core *Core) (f found) {
		f.links, f.certain = core.LinksOf(c)
		return f
	})
	return all.links, all.certain
}

// Run works until ctx ends. Then it waits for the jobs that run, and returns ctx's error. It must be called once.
func (l *Loop) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	summary := ""
	pulse := l.notifier.Pulse()
	var beat time.Time
	for {
		now := time.Now()
		l.step(ctx, now)
		if s := l.core.Summary(); s != summary {
			summary = s
			l.notifier.Status(s)
		}
		if m, news := l.core.SavedState(); news {
			l.notifier.Keep(m)
		}
		if now.Sub(beat) >= pulse/2 {
			beat = now
			l.notifier.Beat()
		}

		wait := beat.Add(pulse / 2).Sub(now)
		if at, ok := l.core.NextWake(); ok {
			wait = min(wait, at.Sub(now))
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			l.drain() // a panic of the core does not wait: nobody knows then which jobs run
			return ctx.Err()
		case <-l.inbox.wake.C():
		case <-timer.C:
		}
	}
}

// step gives the core what has happened, and does what the core says.
func (l *Loop) step(ctx context.Context, now time.Time) {
	for _, ev := range l.inbox.take() {
		l.jobDone(ev)
		switch ev := ev.(type) {
		case coreCall:
			ev(l.core)
		default:
			l.act(ctx, l.core.Step(ev, now))
		}
	}
	l.act(ctx, l.core.Step(Tick{}, now))
	l.askLinks()
}

// jobDone releases what a job that has ended was using, if the event is the result of a job.
func (l *Loop) jobDone(ev Event) {
	switch ev := ev.(type) {
	case Counters:
		l.counters.done()
	case Results:
		for _, r := range ev {
			delete(l.echoes, key(r.Link, r.Index))
			l.logEcho(r)
		}
	case StepDone:
		l.workersFor(ev.Step).done()
	}
}

// workersFor returns the workers for a step of recovery.
func (l *Loop) workersFor(s policy.Step) *workers {
	if s.Asks() {
		return &l.questions
	}
	return &l.steps
}

func (l *Loop) act(ctx context.Context, actions []Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case ReadCounter:
			l.toRead = append(l.toRead, a.Link)
		case SendEcho:
			l.toSend = append(l.toSend, a.Request)
		case Recover:
			l.workersFor(a.Step).start(func() { l.Post(l.takeStep(ctx, a)) })
		case CancelEcho:
			l.cancel(a.Link)
		case LookUp:
			l.executors.LookUp(a.Host)
		case CallHook:
			l.executors.CallHook(a.Event)
		case Note:
			l.log.LogAttrs(ctx, a.Level, a.Text, a.Attrs...)
		case Ready:
			l.notifier.Ready()
		}
	}
}

// askLinks does what the actions since the last call ask for: it reads the counters in one request, and sends the echo
// requests together.
func (l *Loop) askLinks() {
	if len(l.toRead) > 0 {
		links := l.toRead
		l.toRead = nil
		l.counters.start(func() { l.Post(l.count(links)) })
	}
	if n := min(len(l.toSend), maxEchoes-len(l.echoes)); n > 0 {
		l.startEchoes(l.toSend[:n])
		l.toSend = append(l.toSend[:0], l.toSend[n:]...)
	}
}

func (l *Loop) startEchoes(reqs []probe.Request) {
	for _, r := range reqs {
		l.echoes[key(r.Link, r.Index)] = true
	}
	var err error
	func() {
		defer l.catchPanic("echo", &err)
		l.executors.StartEchoes(reqs)
	}()
	if err != nil {
		failed := make([]probe.Result, len(reqs))
		for i, r := range reqs {
			failed[i] = probe.Result{Link: r.Link, Index: r.Index, Target: r.Target, Err: err}
		}
		l.EchoesDone(failed)
	}
}

// cancel ends an echo request. One that still waits was never sent.
func (l *Loop) cancel(link LinkKey) {
	if l.echoes[link] {
		l.executors.CancelEcho(link)
		return
	}
	l.toSend = slices.DeleteFunc(l.toSend, func(r probe.Request) bool { return key(r.Link, r.Index) == link })
	l.EchoesDone([]probe.Result{{Link: link.Name, Index: link.Index, Err: context.Canceled}})
}

// drain waits until no job runs any more. It drops the jobs that have not begun: ctx has ended.
func (l *Loop) drain() {
	l.toSend, l.counters.waiting, l.steps.waiting, l.questions.waiting = nil, nil, nil, nil
	for link := range l.echoes {
		l.executors.CancelEcho(link)
	}
	for len(l.echoes) > 0 || l.counters.free < maxCounters || l.steps.free < maxSlots || l.questions.free < maxQuestions {
		<-l.inbox.wake.C()
		for _, ev := range l.inbox.take() {
			l.jobDone(ev)
		}
	}
}

func (l *Loop) count(links []LinkKey) Counters {
	all := make(Counters, len(links))
	indexes := make([]int, len(links))
	for i, k := range links {
		all[i].Link, indexes[i] = k, k.Index
	}
	var err error
	counts := func() []ppp.Count {
		defer l.catchPanic("counter", &err)
		return l.executors.Received(indexes)
	}()
	for i := range all {
		all[i].Err = err
		if err == nil {
			all[i].Packets, all[i].Err = counts[i].Packets, counts[i].Err
		}
	}
	return all
}

// logEcho writes the debug line about one echo request.
func (l *Loop) logEcho(r probe.Result) {
	if !l.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{slog.String("link", r.Link), slog.String("target", r.Target.String())}
	text := "echo request answered"
	if r.Err != nil {
		text, attrs = "echo request not answered", append(attrs, slog.String("reason", r.Err.Error()))
	} else {
		attrs = append(attrs, slog.Duration("rtt", r.RTT))
	}
	l.log.LogAttrs(context.Background(), slog.LevelDebug, text, attrs...)
}

func (l *Loop) takeStep(ctx context.Context, r Recover) (ev StepDone) {
	ev = StepDone{LAC: r.LAC, Step: r.Step}
	defer l.catchPanic("recovery", &ev.Err)
	ev.Err = l.executors.Recover(ctx, r)
	return ev
}

// catchPanic turns a panic of an executor into its error.
func (l *Loop) catchPanic(executor string, err *error) {
	if p := recover(); p != nil {
		l.log.Error(executor+" panicked", "panic", p, "stack", string(debug.Stack()))
		*err = fmt.Errorf("panic: %v", p)
	}
}
