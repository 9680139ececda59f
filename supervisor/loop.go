package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"xl2tpd-keepalive/internal/hook"
	"xl2tpd-keepalive/internal/ppp"
	"xl2tpd-keepalive/probe"
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
	Echo(context.Context, probe.Request) probe.Result
	Received(indexes []int) []ppp.Count
	Recover(context.Context, Recover) error
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

	echoes    workers
	counters  workers
	steps     workers                    // of recovery
	questions workers                    // recovery steps that only ask
	cancels   map[Key]context.CancelFunc // of echoes
}

// NewLoop makes a loop. It does nothing before Run.
func NewLoop(core *Core, executors Executors, notifier Notifier, log *slog.Logger) *Loop {
	return &Loop{
		core: core, executors: executors, notifier: notifier, log: log, inbox: new(inbox),
		echoes: workers{free: maxEchoes}, counters: workers{free: maxCounters}, steps: workers{free: maxSlots}, questions: workers{free: maxQuestions},
		cancels: make(map[Key]context.CancelFunc),
	}
}

// Post adds an event for the core. It never blocks and may be called from any goroutine, also before and after Run.
func (l *Loop) Post(ev Event) { l.inbox.post(ev) }

// readings are the counters of one reading.
type readings []Counter

// question is a func that the loop's goroutine calls, so that it may read the core.
type question struct {
	look func(*Core)
	done chan struct{}
}

// ask returns false if ctx ends before look could be called.
func (l *Loop) ask(ctx context.Context, look func(*Core)) bool {
	q := question{look, make(chan struct{})}
	l.Post(q)
	select {
	case <-q.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// LinksOf is Core.LinksOf, for other goroutines. It returns nothing if ctx ends first.
func (l *Loop) LinksOf(ctx context.Context, c ControlConnection) (links []Tunnel, certain bool) {
	type found struct {
		links   []Tunnel
		certain bool
	}
	answer := make(chan found, 1) // buffered: nobody receives if ctx has ended
	if l.ask(ctx, func(core *Core) {
		links, certain := core.LinksOf(c)
		answer <- found{links, certain}
	}) {
		w := <-answer
		return w.links, w.certain
	}
	return nil, false
}

// Run works until ctx ends. Then it waits for the jobs that run, and returns ctx's error. It must be called once.
func (l *Loop) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	status := ""
	pulse := l.notifier.Pulse()
	var beat time.Time
	for {
		now := time.Now()
		for _, ev := range l.inbox.take() {
			l.jobDone(ev)
			switch ev := ev.(type) {
			case question:
				ev.look(l.core)
				close(ev.done)
			case readings:
				for _, c := range ev {
					l.act(ctx, l.core.Step(c, now))
				}
			default:
				l.act(ctx, l.core.Step(ev, now))
			}
		}
		l.act(ctx, l.core.Step(Tick{}, now))
		if s := l.core.Status(); s != status {
			status = s
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

// jobDone releases what a job that has ended was using, if the event is the result of a job.
func (l *Loop) jobDone(ev Event) {
	switch ev := ev.(type) {
	case readings:
		l.counters.done()
	case probe.Result:
		k := key(ev.Link, ev.Index)
		l.cancels[k]()
		delete(l.cancels, k)
		l.echoes.done()
	case StepDone:
		l.workersFor(ev.Step).done()
	}
}

// workersFor returns the workers for a step of recovery.
func (l *Loop) workersFor(s Step) *workers {
	if s.asks() {
		return &l.questions
	}
	return &l.steps
}

func (l *Loop) act(ctx context.Context, actions []Action) {
	var toRead []Key // in one request
	for _, a := range actions {
		switch a := a.(type) {
		case ReadCounter:
			toRead = append(toRead, a.Link)
		case SendEcho:
			ctx, cancel := context.WithCancel(ctx)
			l.cancels[key(a.Link, a.Index)] = cancel
			l.echoes.start(func() { l.Post(l.echo(ctx, a.Request)) })
		case Recover:
			l.workersFor(a.Step).start(func() { l.Post(l.takeStep(ctx, a)) })
		case CancelEcho:
			l.cancels[a.Link]()
		case CallHook:
			l.executors.CallHook(a.Event)
		case Note:
			l.log.LogAttrs(ctx, a.Level, a.Text, a.Attrs...)
		case Ready:
			l.notifier.Ready()
		}
	}
	if len(toRead) > 0 {
		l.counters.start(func() { l.Post(l.count(toRead)) })
	}
}

// drain waits until no job runs any more. It drops the jobs that have not begun: ctx has ended.
func (l *Loop) drain() {
	l.echoes.waiting, l.counters.waiting, l.steps.waiting, l.questions.waiting = nil, nil, nil, nil
	for l.echoes.free < maxEchoes || l.counters.free < maxCounters || l.steps.free < maxSlots || l.questions.free < maxQuestions {
		<-l.inbox.wake.C()
		for _, ev := range l.inbox.take() {
			l.jobDone(ev)
		}
	}
	for _, cancel := range l.cancels {
		cancel()
	}
}

func (l *Loop) count(links []Key) readings {
	all := make(readings, len(links))
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

func (l *Loop) echo(ctx context.Context, req probe.Request) (res probe.Result) {
	res = probe.Result{Link: req.Link, Index: req.Index, Target: req.Target}
	defer l.catchPanic("echo", &res.Err)
	res = l.executors.Echo(ctx, req)
	if l.log.Enabled(ctx, slog.LevelDebug) {
		l.logEcho(res)
	}
	return res
}

// logEcho writes the debug line about one echo request.
func (l *Loop) logEcho(r probe.Result) {
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
