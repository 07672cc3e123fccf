// The rows of bench/sync.c that Go has something like: CPU time on one processor, in ns, a line a row; run by
// bench/sync, which says how many rounds.
package main

import (
	"container/heap"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const many, trips = 1000000, 200000

func cpu() float64 {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano() + usage.Stime.Nano())
}

func row(name string, count int, f func()) {
	start := cpu()
	f()
	fmt.Printf("%s: %g\n", name, (cpu()-start)/float64(count))
}

// Runs f here and in a goroutine of its own.
func twice(f func()) {
	var group sync.WaitGroup
	group.Add(1)
	go func() { f(); group.Done() }()
	f()
	group.Wait()
}

type ints []int

func (h ints) Len() int           { return len(h) }
func (h ints) Less(i, j int) bool { return h[i] < h[j] }
func (h ints) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *ints) Push(x any)        { *h = append(*h, x.(int)) }
func (h *ints) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

func alone() {
	place := make(chan struct{}, 1)
	row("semaphore, free", many, func() {
		for i := 0; i < many; i++ {
			place <- struct{}{}
			<-place
		}
	})
	var rw sync.RWMutex
	row("read-write lock, to read, free", many, func() {
		for i := 0; i < many; i++ {
			rw.RLock()
			rw.RUnlock()
		}
	})
	var once sync.Once
	row("once, done", many, func() {
		for i := 0; i < many; i++ {
			once.Do(func() {})
		}
	})
	row("latch, count down + wait", many, func() {
		for i := 0; i < many; i++ {
			var group sync.WaitGroup
			group.Add(1)
			group.Done()
			group.Wait()
		}
	})
	queue := make(chan int, 1000)
	for i := 0; i < 100; i++ {
		queue <- i
	}
	row("queue put + get, 100 inside", many, func() {
		for i := 0; i < many; i++ {
			queue <- i * 7919 % 1000
			<-queue
		}
	})
	numbers := &ints{}
	for i := 0; i < 100; i++ {
		heap.Push(numbers, i)
	}
	row("priority queue put + get, 100 inside", many, func() {
		for i := 0; i < many; i++ {
			heap.Push(numbers, i*7919%1000)
			heap.Pop(numbers)
		}
	})
	left, right, stop := make(chan int, 1), make(chan int, 1), make(chan int)
	row("select of 3, one ready", many, func() {
		for i := 0; i < many; i++ {
			if i&1 == 1 {
				left <- i
			} else {
				right <- i
			}
			select {
			case <-left:
			case <-right:
			case <-stop:
			}
		}
	})
}

func two() {
	place := make(chan struct{}, 1)
	row("semaphore, handed over", trips, func() {
		twice(func() {
			for i := 0; i < trips/2; i++ {
				place <- struct{}{}
				runtime.Gosched()
				<-place
			}
		})
	})
	var rw sync.RWMutex
	row("read-write lock, to write, handed over", trips, func() {
		twice(func() {
			for i := 0; i < trips/2; i++ {
				rw.Lock()
				runtime.Gosched()
				rw.Unlock()
			}
		})
	})
	var mutex sync.Mutex
	changed := sync.NewCond(&mutex)
	turn, next := 0, 0
	row("condition, notify + wait", trips, func() {
		twice(func() {
			mutex.Lock()
			mine := next
			next++
			for i := 0; i < trips/2; i++ {
				for turn != mine {
					changed.Wait()
				}
				turn = 1 - mine
				changed.Signal()
			}
			mutex.Unlock()
		})
	})
	left, right, back := make(chan int, 1), make(chan int, 1), make(chan int, 1)
	row("select of 2, ping-pong, round trip", trips, func() {
		go func() {
			for i := 0; i < trips; i++ {
				select {
				case x := <-left:
					back <- x
				case x := <-right:
					back <- x
				}
			}
		}()
		for i := 0; i < trips; i++ {
			if i&1 == 1 {
				left <- i
			} else {
				right <- i
			}
			<-back
		}
	})
}

func threads() {
	runtime.GOMAXPROCS(2)
	queue := make(chan int, 1024)
	start := time.Now()
	go func() {
		runtime.LockOSThread()
		for i := 0; i < many; i++ {
			queue <- i
		}
	}()
	for i := 0; i < many; i++ {
		<-queue
	}
	fmt.Printf("queue between threads, an item: %g\n", float64(time.Since(start))/many)
}

func main() {
	rounds, _ := strconv.Atoi(os.Args[1])
	for i := 0; i < rounds; i++ {
		runtime.GOMAXPROCS(1)
		alone()
		two()
		threads()
	}
}
