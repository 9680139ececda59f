package supervisor

// workers runs jobs in goroutines: a bounded number at a time, in the order in which they came. Only the loop uses it.
type workers struct {
	free    int // how many more may run now
	waiting []func()
}

func (w *workers) start(job func()) {
	if w.free == 0 {
		w.waiting = append(w.waiting, job)
		return
	}
	w.free--
	go job()
}

// done must be called once for each job that has ended. It starts the next job.
func (w *workers) done() {
	if len(w.waiting) == 0 {
		w.free++
		return
	}
	job := w.waiting[0]
	w.waiting = w.waiting[1:]
	go job()
}
