// The rows of bench/tasks.c that Go has something like: CPU time on one processor, in ns, a line a row; run by
// bench/tasks, which says how many rounds.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
)

const many, alive = 1000000, 1000

func cpu() float64 {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano() + usage.Stime.Nano())
}

func row(name string, f func()) {
	start := cpu()
	f()
	fmt.Printf("%s: %g\n", name, (cpu()-start)/many)
}

func nothing() error { return nil }

// What waits for a number of goroutines is a WaitGroup.
func waitGroup() {
	for times := 0; times < many/alive; times++ {
		var group sync.WaitGroup
		group.Add(alive)
		for i := 0; i < alive; i++ {
			go func() { nothing(); group.Done() }()
		}
		group.Wait()
	}
}

// Each sends its result as it ends.
func asCompleted() {
	for times := 0; times < many/alive; times++ {
		results := make(chan error, alive)
		for i := 0; i < alive; i++ {
			go func() { results <- nothing() }()
		}
		for i := 0; i < alive; i++ {
			<-results
		}
	}
}

// Each puts its error where it belongs.
func gatherAll() {
	errors := make([]error, alive)
	for times := 0; times < many/alive; times++ {
		var group sync.WaitGroup
		group.Add(alive)
		for i := 0; i < alive; i++ {
			go func(i int) { errors[i] = nothing(); group.Done() }(i)
		}
		group.Wait()
	}
}

func oneAfterAnother() {
	done := make(chan error)
	for i := 0; i < many; i++ {
		go func() { done <- nothing() }()
		<-done
	}
}

type key int

var sink any

func main() {
	runtime.GOMAXPROCS(1)
	rounds, _ := strconv.Atoi(os.Args[1])
	ctx := context.Background()
	for i := 0; i < 3; i++ {
		ctx = context.WithValue(ctx, key(i), i)
	}
	for ; rounds > 0; rounds-- {
		row("wait for all of 1,000, a task", waitGroup)
		row("as completed, 1,000, a task", asCompleted)
		row("gather_all of 1,000, a task", gatherAll)
		row("group of 1,000, a task", waitGroup)
		row("create + await, one at a time", oneAfterAnother)
		row("eager task that does not wait", oneAfterAnother)
		row("context variable, get", func() {
			for i := 0; i < many; i++ {
				sink = ctx.Value(key(0))
			}
		})
		row("context variable, set + reset", func() {
			for i := 0; i < many; i++ {
				sink = context.WithValue(ctx, key(0), 1)
			}
		})
	}
}
