package supervisor

// crew runs jobs in goroutines, a bounded number at a time, first come first
// served. Only the loop uses it.
type crew struct {
	free    int // how many more may run now
	waiting []func()
}

func (c *crew) start(job func()) {
	if c.free == 0 {
		c.waiting = append(c.waiting, job)
		return
	}
	c.free--
	go job()
}

// done is to be called for each job that has ended.
func (c *crew) done() {
	if len(c.waiting) == 0 {
		c.free++
		return
	}
	job := c.waiting[0]
	c.waiting = c.waiting[1:]
	go job()
}
