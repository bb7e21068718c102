// The peer in Go: the rows of the scheduler and of what is built on it, with a goroutine for a green thread.
//
//	GOMAXPROCS=WORKERS peer ROW
//
// It prepares, answers "ready", and then takes a sample for each line on its standard input: a number for each metric of the
// row. What the rows count, and what they do not, is told in ../README.md.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const million = 1_000_000

// rows are the rows by name, without the suffix of those with two workers. Each prepares and returns what takes a sample.
var rows = map[string]func() sampler{
	"spawn/spawn_join":       func() sampler { return perOperation(1, spawnJoin) },
	"spawn/spawn_1000":       func() sampler { return perOperation(1000, spawnBurst) },
	"spawn/spawn_1000000":    func() sampler { return spawnAll(million) },
	"spawn/yield_2":          func() sampler { return yieldAmong(1, 2) },
	"spawn/yield_1000":       func() sampler { return yieldAmong(1, 1000) },
	"spawn/yield_100000":     func() sampler { return yieldAmong(32, 100_000) },
	"spawn/ping_pong":        func() sampler { return perOperation(1, pingPong) },
	"spawn/ring_10000":       func() sampler { return ring(10_000) },
	"spawn/parked_20000":     func() sampler { return parked(20_000) },
	"spawn/parked_100000":    func() sampler { return parked(100_000) },
	"spawn/parked_1000000":   func() sampler { return parked(million) },
	"time/sleeps_20000":      func() sampler { return sleeps(20_000) },
	"time/timer_1":           func() sampler { return timer(1) },
	"time/timer_1000000":     func() sampler { return timer(million) },
	"time/ping_pong_timeout": func() sampler { return perOperation(1, pingPongTimeout) },
	"workers/skynet":         func() sampler { return skynet(million) },
	"workers/fib":            func() sampler { return fib(25, 75_025) },
	"workers/token":          func() sampler { return perOperation(1, token) },
	"workers/busy_neighbour": busyNeighbour,
	"workers/idle":           idle,
	"sync/channel_1":         func() sampler { return perOperation(1, channelPingPong(1)) },
	"sync/channel_0":         func() sampler { return perOperation(1, channelPingPong(0)) },
	"sync/channel_timeout":   func() sampler { return perOperation(1, channelTimeout) },
	"sync/fan_in_4":          func() sampler { return fanIn(4) },
	"sync/fan_in_64":         func() sampler { return fanIn(64) },
	"sync/mpmc_4x4":          func() sampler { return mpmc(4) },
	"sync/select_2":          func() sampler { return selectAmong(2, select2) },
	"sync/select_8":          func() sampler { return selectAmong(8, select8) },
	"sync/mutex":             func() sampler { return perOperation(1, mutex) },
	"sync/mutex_64":          func() sampler { return mutexAmong(64, func() {}) },
	"sync/mutex_64_yield":    func() sampler { return mutexAmong(64, runtime.Gosched) },
}

type sampler func() []float64

func main() {
	if len(os.Args) == 3 && os.Args[1] == "--server" {
		serve(os.Args[2])
	}
	if len(os.Args) != 2 {
		fail("usage: peer ROW, or peer --server SERVICE")
	}
	prepare, known := rows[strings.TrimSuffix(os.Args[1], "_w2")]
	if !known {
		fail("there is no such row")
	}
	sample := prepare()
	fmt.Println("ready")
	requests := bufio.NewScanner(os.Stdin)
	for requests.Scan() {
		var values []string
		for _, value := range sample() {
			values = append(values, strconv.FormatFloat(value, 'g', -1, 64))
		}
		fmt.Println(strings.Join(values, " "))
	}
}

func fail(message string) {
	fmt.Fprintln(os.Stderr, message)
	os.Exit(1)
}

// perOperation measures the nanoseconds of one operation. run does so many rounds of batch operations.
func perOperation(batch int, run func(rounds int) time.Duration) sampler {
	return perOperationIn(1, batch, run)
}

// perOperationIn does the same, in at least so many rounds a sample. Finding out how many take long enough warms up as well.
func perOperationIn(rounds, batch int, run func(rounds int) time.Duration) sampler {
	for run(rounds) < 10*time.Millisecond {
		rounds *= 2
	}
	return func() []float64 {
		return []float64{per(run(rounds), rounds*batch)}
	}
}

func per(total time.Duration, count int) float64 {
	return float64(total) / float64(count)
}

func timed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// -- spawn/ --

// sink keeps results from being optimized away.
var sink int

func spawnJoin(rounds int) time.Duration {
	return timed(func() {
		var ended sync.WaitGroup
		for number := range rounds {
			ended.Add(1)
			go func() {
				sink = number
				ended.Done()
			}()
			ended.Wait()
		}
	})
}

func burst(count int) {
	results := make([]int, count)
	var ended sync.WaitGroup
	ended.Add(count)
	for number := range count {
		go func() {
			results[number] = number
			ended.Done()
		}()
	}
	ended.Wait()
	sink = results[count-1]
}

func spawnBurst(rounds int) time.Duration {
	return timed(func() {
		for range rounds {
			burst(1000)
		}
	})
}

func spawnAll(count int) sampler {
	return func() []float64 {
		took := timed(func() { burst(count) })
		return []float64{per(took, count), memory("VmHWM:") / 1e6}
	}
}

// A signal wakes one goroutine once; it may come before the goroutine waits.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }
func (s signal) wake()  { s <- struct{}{} }
func (s signal) wait()  { <-s }

// A crowd is goroutines that wait for a signal each.
type crowd struct {
	signals []signal
	ended   sync.WaitGroup
}

// gather starts a crowd whose goroutines, once woken, do then.
func gather(count int, then func(signal)) *crowd {
	crowd := &crowd{signals: make([]signal, count)}
	crowd.ended.Add(count)
	var come sync.WaitGroup
	come.Add(count)
	for place := range crowd.signals {
		mine := newSignal()
		crowd.signals[place] = mine
		go func() {
			come.Done()
			mine.wait()
			then(mine)
			crowd.ended.Done()
		}()
	}
	come.Wait()
	return crowd
}

func (c *crowd) wake() {
	for _, signal := range c.signals {
		signal.wake()
	}
}

func yieldAmong(rounds, count int) sampler {
	return perOperationIn(rounds, count, func(rounds int) time.Duration {
		var done sync.WaitGroup
		done.Add(count)
		crowd := gather(count, func(mine signal) {
			for range rounds {
				runtime.Gosched()
			}
			done.Done()
			mine.wait()
		})
		took := timed(func() {
			crowd.wake()
			done.Wait()
		})
		crowd.wake()
		crowd.ended.Wait()
		return took
	})
}

func pingPong(rounds int) time.Duration {
	ping, pong := newSignal(), newSignal()
	go func() {
		for range ping {
			pong.wake()
		}
	}()
	defer close(ping)
	return timed(func() {
		for range rounds {
			ping.wake()
			pong.wait()
		}
	})
}

func ring(count int) sampler {
	return perOperation(count, func(laps int) time.Duration {
		var come, ended sync.WaitGroup
		come.Add(count - 1)
		ended.Add(count - 1)
		over := make(chan struct{})
		first := newSignal()
		in := first
		for range count - 1 {
			mine, next := in, newSignal()
			in = next
			go func() {
				come.Done()
				for range laps {
					mine.wait()
					next.wake()
				}
				<-over
				ended.Done()
			}()
		}
		come.Wait()
		took := timed(func() {
			for range laps {
				first.wake()
				in.wait()
			}
		})
		close(over)
		ended.Wait()
		return took
	})
}

func parked(count int) sampler {
	before := memory("VmRSS:")
	return func() []float64 {
		var crowd *crowd
		spawn := timed(func() { crowd = gather(count, func(signal) {}) })
		memory := memory("VmRSS:") - before
		wake := timed(func() {
			crowd.wake()
			crowd.ended.Wait()
		})
		return []float64{per(spawn, count), per(wake, count), memory / float64(count)}
	}
}

// -- time/ --

func sleeps(count int) sampler {
	return func() []float64 {
		late := make([]time.Duration, count)
		var ended sync.WaitGroup
		ended.Add(count)
		before := used(rusageSelf).time
		for number := range count {
			go func() {
				length := time.Millisecond + 99*time.Millisecond*time.Duration(number*7919%count)/time.Duration(count)
				start := time.Now()
				time.Sleep(length)
				late[number] = time.Since(start) - length
				ended.Done()
			}()
		}
		ended.Wait()
		spent := used(rusageSelf).time - before
		return []float64{percentile(late, 50), percentile(late, 99), per(spent, count) / 1e3}
	}
}

// percentile is in microseconds; it sorts the values.
func percentile(values []time.Duration, percent int) float64 {
	slices.Sort(values)
	return float64(values[(len(values)-1)*percent/100]) / 1e3
}

const limit = 90 * time.Minute

// timer arms and cancels one of so many, the others of which last from one to two hours. A timer with a function is pending from the
// beginning; one with a channel only while somebody waits for it.
func timer(pending int) sampler {
	nothing := func() {}
	for number := range pending - 1 {
		time.AfterFunc(time.Hour+time.Hour*time.Duration(number*7919%pending)/time.Duration(pending), nothing)
	}
	return perOperation(1, func(rounds int) time.Duration {
		return timed(func() {
			for range rounds {
				time.AfterFunc(limit, nothing).Stop()
			}
		})
	})
}

func pingPongTimeout(rounds int) time.Duration {
	ping, pong := newSignal(), newSignal()
	go func() {
		timer := time.NewTimer(limit)
		for waitUntil(ping, timer) {
			pong.wake()
		}
	}()
	defer close(ping)
	timer := time.NewTimer(limit)
	return timed(func() {
		for range rounds {
			ping.wake()
			waitUntil(pong, timer)
		}
	})
}

// waitUntil tells whether there was a signal before the time was over.
func waitUntil(signal signal, timer *time.Timer) bool {
	timer.Reset(limit)
	select {
	case _, open := <-signal:
		return open
	case <-timer.C:
		return false
	}
}

// -- workers/ --

func skynet(leaves int) sampler {
	return func() []float64 {
		took := timed(func() {
			result := make(chan int, 1)
			skynetNode(result, 0, leaves)
			if <-result != leaves*(leaves-1)/2 {
				fail("a wrong sum")
			}
		})
		return []float64{float64(took) / 1e6}
	}
}

func skynetNode(result chan<- int, first, leaves int) {
	if leaves == 1 {
		result <- first
		return
	}
	parts := make(chan int, 10)
	for number := range 10 {
		go skynetNode(parts, first+number*leaves/10, leaves/10)
	}
	sum := 0
	for range 10 {
		sum += <-parts
	}
	result <- sum
}

func fib(n, expected int) sampler {
	return func() []float64 {
		took := timed(func() {
			if fibNode(n) != expected {
				fail("a wrong number")
			}
		})
		return []float64{float64(took) / 1e6}
	}
}

func fibNode(n int) int {
	if n < 2 {
		return n
	}
	left := make(chan int, 1)
	go func() { left <- fibNode(n - 1) }()
	right := fibNode(n - 2)
	return <-left + right
}

// token keeps the goroutines apart by giving each an OS thread of its own on another processor.
func token(rounds int) time.Duration {
	ping, pong := newSignal(), newSignal()
	go func() {
		lockToProcessor(1)
		for range ping {
			pong.wake()
		}
	}()
	defer close(ping)
	lockToProcessor(0)
	defer runtime.UnlockOSThread()
	ping.wake()
	pong.wait()
	return timed(func() {
		for range rounds {
			ping.wake()
			pong.wait()
		}
	})
}

// lockToProcessor gives the goroutine an OS thread of its own on one processor.
func lockToProcessor(number int) {
	runtime.LockOSThread()
	set := uint64(1) << number
	_, _, failed := syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
	if failed != 0 {
		fail(failed.Error())
	}
}

// busyNeighbour has the short ones come from a goroutine with an OS thread of its own, so that another OS thread must run them. It
// sleeps in the kernel, as Go's own sleep is no finer than a millisecond; before that it yields, for it would take its P along.
func busyNeighbour() sampler {
	const (
		busy     = 100 * time.Millisecond
		period   = 100 * time.Microsecond
		arrivals = 900
	)
	return func() []float64 {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		setTimerSlack()
		var begun atomic.Bool
		go func() {
			begun.Store(true)
			for start := time.Now(); time.Since(start) < busy; {
			}
		}()
		for !begun.Load() {
			sleepInKernel(period)
		}
		waits := make([]time.Duration, arrivals)
		var ended sync.WaitGroup
		ended.Add(arrivals)
		start := time.Now()
		for number := range arrivals {
			due := start.Add(time.Duration(number+1) * period)
			sleepInKernel(time.Until(due))
			spawned := time.Now()
			go func() {
				waits[number] = time.Since(spawned)
				ended.Done()
			}()
			runtime.Gosched()
		}
		ended.Wait()
		return []float64{percentile(waits, 99)}
	}
}

func setTimerSlack() {
	const prSetTimerslack = 29
	if _, _, failed := syscall.RawSyscall(syscall.SYS_PRCTL, prSetTimerslack, 1, 0); failed != 0 {
		fail(failed.Error())
	}
}

func sleepInKernel(length time.Duration) {
	if length > 0 {
		left := syscall.NsecToTimespec(int64(length))
		for syscall.Nanosleep(&left, &left) == syscall.EINTR {
		}
	}
}

func idle() sampler {
	const span = 500 * time.Millisecond
	ended := make(chan bool)
	go func() {
		time.Sleep(time.Millisecond)
		close(ended)
	}()
	<-ended
	// One and the same thread, which then can be left out.
	runtime.LockOSThread()
	return func() []float64 {
		before := usedByOthers()
		sleepInKernel(span)
		after := usedByOthers()
		seconds := span.Seconds()
		return []float64{
			float64(after.waits-before.waits) / seconds,
			float64((after.time - before.time).Microseconds()) / seconds,
		}
	}
}

// -- sync/ --

// sum keeps what was received from being optimized away.
var sum uint64

func channelPingPong(capacity int) func(rounds int) time.Duration {
	return func(rounds int) time.Duration {
		ping, pong := make(chan uint64, capacity), make(chan uint64, capacity)
		go func() {
			for number := range ping {
				pong <- number
			}
		}()
		defer close(ping)
		return timed(func() {
			for number := range rounds {
				ping <- uint64(number)
				sum += <-pong
			}
		})
	}
}

// channelTimeout has channels with room for the one message that there is: they never make a sender wait.
func channelTimeout(rounds int) time.Duration {
	ping, pong := make(chan uint64, 1), make(chan uint64, 1)
	go func() {
		timer := time.NewTimer(limit)
		for {
			number, received := receiveUntil(ping, timer)
			if !received {
				return
			}
			pong <- number
		}
	}()
	defer close(ping)
	timer := time.NewTimer(limit)
	return timed(func() {
		for number := range rounds {
			ping <- uint64(number)
			number, _ := receiveUntil(pong, timer)
			sum += number
		}
	})
}

// receiveUntil tells whether there was a message before the time was over.
func receiveUntil(channel <-chan uint64, timer *time.Timer) (uint64, bool) {
	timer.Reset(limit)
	select {
	case number, open := <-channel:
		return number, open
	case <-timer.C:
		return 0, false
	}
}

// A group is goroutines that wait for the start.
type group struct {
	gate  chan struct{}
	ended sync.WaitGroup
}

// form starts so many, which do then once they are let go, and returns when they all wait, or are about to.
func form(count int, then func()) *group {
	group := &group{gate: make(chan struct{})}
	group.ended.Add(count)
	var come sync.WaitGroup
	come.Add(count)
	for range count {
		go func() {
			come.Done()
			<-group.gate
			then()
			group.ended.Done()
		}()
	}
	come.Wait()
	return group
}

func (g *group) start() { close(g.gate) }

func produce(channel chan<- uint64, count int) {
	for number := range count {
		channel <- uint64(number)
	}
}

func consume(channel <-chan uint64) uint64 {
	sum := uint64(0)
	for number := range channel {
		sum += number
	}
	return sum
}

// fanIn closes the channel from a goroutine of its own, when the last producer has ended.
func fanIn(producers int) sampler {
	return perOperation(producers, func(count int) time.Duration {
		channel := make(chan uint64, 128)
		group := form(producers, func() { produce(channel, count) })
		go func() {
			group.ended.Wait()
			close(channel)
		}()
		return timed(func() {
			group.start()
			sum += consume(channel)
		})
	})
}

func mpmc(side int) sampler {
	return perOperation(side, func(count int) time.Duration {
		channel := make(chan uint64, 128)
		producers := form(side, func() { produce(channel, count) })
		var total atomic.Uint64
		consumers := form(side, func() { total.Add(consume(channel)) })
		took := timed(func() {
			producers.start()
			consumers.start()
			producers.ended.Wait()
			close(channel)
			consumers.ended.Wait()
		})
		sum += total.Load()
		return took
	})
}

// selectAmong fills the channels between so many selections, which does not count.
func selectAmong(count int, selected func([]chan uint64) uint64) sampler {
	const burst = 1024
	return perOperation(burst, func(rounds int) time.Duration {
		channels := make([]chan uint64, count)
		for place := range channels {
			channels[place] = make(chan uint64, burst)
		}
		var took time.Duration
		for range rounds {
			for _, channel := range channels {
				for len(channel) < burst {
					channel <- 1
				}
			}
			took += timed(func() {
				for range burst {
					sum += selected(channels)
				}
			})
		}
		return took
	})
}

func select2(from []chan uint64) uint64 {
	select {
	case number := <-from[0]:
		return number
	case number := <-from[1]:
		return number
	}
}

func select8(from []chan uint64) uint64 {
	select {
	case number := <-from[0]:
		return number
	case number := <-from[1]:
		return number
	case number := <-from[2]:
		return number
	case number := <-from[3]:
		return number
	case number := <-from[4]:
		return number
	case number := <-from[5]:
		return number
	case number := <-from[6]:
		return number
	case number := <-from[7]:
		return number
	}
}

// A counted is a number with a lock.
type counted struct {
	lock  sync.Mutex
	count uint64
}

func mutex(rounds int) time.Duration {
	counted := new(counted)
	return timed(func() {
		for range rounds {
			counted.lock.Lock()
			counted.count++
			counted.lock.Unlock()
		}
	})
}

func mutexAmong(count int, inside func()) sampler {
	return perOperation(count, func(rounds int) time.Duration {
		counted := new(counted)
		group := form(count, func() {
			for range rounds {
				counted.lock.Lock()
				counted.count++
				inside()
				counted.lock.Unlock()
			}
		})
		return timed(func() {
			group.start()
			group.ended.Wait()
		})
	})
}

// -- the system --

// A use is what threads have used of the processors.
type use struct {
	time  time.Duration
	waits int64
}

const (
	rusageSelf   = 0
	rusageThread = 1
)

func used(who int) use {
	var usage syscall.Rusage
	if err := syscall.Getrusage(who, &usage); err != nil {
		fail(err.Error())
	}
	return use{time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), usage.Nvcsw}
}

// usedByOthers is what all OS threads but the calling one have used.
func usedByOthers() use {
	all, own := used(rusageSelf), used(rusageThread)
	return use{all.time - own.time, all.waits - own.waits}
}

// memory reads a field of /proc/self/status, in bytes.
func memory(field string) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fail(err.Error())
	}
	_, rest, _ := strings.Cut(string(status), field)
	kibibytes, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		fail(err.Error())
	}
	return kibibytes * 1024
}

// serve is a server of the rows of net/, which ends with its standard input. The rows are in ../src/net/mod.rs.
func serve(service string) {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if service == "udp" {
		socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		check(err)
		fmt.Println(socket.LocalAddr())
		buffer := make([]byte, 1024)
		for {
			length, from, err := socket.ReadFromUDPAddrPort(buffer)
			check(err)
			_, err = socket.WriteToUDPAddrPort(buffer[:length], from)
			check(err)
		}
	}
	services := map[string]func(net.Conn) error{
		"echo": func(conn net.Conn) error { return echo(conn, 1024) },
		"bulk": func(conn net.Conn) error { return echo(conn, 64*1024) },
		"http": answerRequests,
		"once": answerOnce,
	}
	answer, known := services[service]
	if !known {
		fail("there is no such service")
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	check(err)
	fmt.Println(listener.Addr())
	for {
		conn, err := listener.Accept()
		check(err)
		// TCP_NODELAY is set by default.
		go func() {
			defer conn.Close()
			answer(conn)
		}()
	}
}

func check(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func echo(conn net.Conn, size int) error {
	buffer := make([]byte, size)
	for {
		length, err := conn.Read(buffer)
		if err != nil {
			return err
		}
		if _, err = conn.Write(buffer[:length]); err != nil {
			return err
		}
	}
}

func answerRequests(conn net.Conn) error {
	end := []byte("\r\n\r\n")
	answer := []byte("HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!")
	input := make([]byte, 4096)
	var output []byte
	filled := 0
	for {
		length, err := conn.Read(input[filled:])
		if err != nil {
			return err
		}
		filled += length
		used := 0
		output = output[:0]
		for {
			at := bytes.Index(input[used:filled], end)
			if at < 0 {
				break
			}
			used += at + len(end)
			output = append(output, answer...)
		}
		copy(input, input[used:filled])
		filled -= used
		if _, err = conn.Write(output); err != nil {
			return err
		}
	}
}

func answerOnce(conn net.Conn) error {
	message := make([]byte, 64)
	if _, err := io.ReadFull(conn, message); err != nil {
		return err
	}
	_, err := conn.Write(message)
	return err
}
