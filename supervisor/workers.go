package supervisor

// workers runs jobs in goroutines: a bounded number at a time, in the order in which they came. Only the loop uses it.
type workers struct {
	free    int // how many more may run now
	waiting []func()
}

func (c *workers) start(job func()) {
	if c.free == 0 {
		c.waiting = append(c.waiting, job)
		return
	}
	c.free--
	go job()
}

// done must be called once for each job that has ended. It starts the next job.
func (c *workers) done() {
	if len(c.waiting) == 0 {
		c.free++
		return
	}
	job := c.waiting[0]
	c.waiting = c.waiting[1:]
	go job()
}
