package eventloop

import (
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"watchtower/bridge/outbound"
)

const (
	readBytes  = 32 << 10 // read from one socket at a time
	eventsMost = 256      // sockets that are taken from the system at a time
	writesMost = 512      // connections that a loop writes to, before it reads again
)

// Loops are as many loops as there are processors.
type Loops struct {
	all  []*loop
	turn atomic.Uint32
}

// loop is one goroutine with an epoll instance. The runtime's poller watches that instance,
// so no thread waits in a system call for it.
type loop struct {
	file *os.File // the epoll instance
	raw  syscall.RawConn
	done chan struct{}

	mu      sync.Mutex
	sockets map[int32]*Socket // parked, by file descriptor

	// The goroutine's own:
	events [eventsMost]unix.EpollEvent
	ready  []*Socket
	buf    []byte
	n      int
	err    syscall.Errno
	read   func(fd uintptr) bool
	round  outbound.Round
}

// Start starts loops. The caller closes them.
func Start() (*Loops, error) {
	ls := &Loops{}
	for range runtime.GOMAXPROCS(0) {
		l, err := start()
		if err != nil {
			ls.Close()
			return nil, err
		}
		ls.all = append(ls.all, l)
	}
	return ls, nil
}

func start() (*loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		err = unix.SetNonblock(fd, true) // or the runtime's poller would not watch it
	}
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	l := &loop{file: os.NewFile(uintptr(fd), "epoll"), done: make(chan struct{}), sockets: map[int32]*Socket{}}
	if l.raw, err = l.file.SyscallConn(); err != nil {
		_ = l.file.Close()
		return nil, err
	}
	l.read = func(fd uintptr) bool {
		l.n, l.err = sysRead(fd, l.buf)
		return true // it does not wait
	}
	go l.run()
	return l, nil
}

// Close ends the loops, and waits for them. No connection may be parked any more.
func (ls *Loops) Close() {
	if ls == nil {
		return
	}
	for _, l := range ls.all {
		_ = l.file.Close()
	}
	for _, l := range ls.all {
		<-l.done
	}
}

func (l *loop) run() {
	defer close(l.done)
	n := 0
	wait := func(fd uintptr) bool {
		if n = sysWait(fd, l.events[:]); n == 0 {
			l.idle()
		}
		return n != 0
	}
	for l.raw.Read(wait) == nil {
		l.ready = l.ready[:0]
		l.mu.Lock()
		for i := range max(n, 0) {
			if s := l.sockets[l.events[i].Fd]; s != nil {
				l.ready = append(l.ready, s)
			}
		}
		l.mu.Unlock()
		if l.buf == nil && n > 0 {
			l.buf = *buffers.Get().(*[]byte)
		}
		for _, s := range l.ready {
			l.take(s)
		}
		clear(l.ready)
		l.round.Split(writesMost)
	}
	l.idle()
}

var buffers = sync.Pool{New: func() any { b := make([]byte, readBytes); return &b }}

// idle gives back the loop's memory.
func (l *loop) idle() {
	if l.buf != nil {
		b := l.buf
		l.buf = nil
		buffers.Put(&b)
	}
	l.round.Rest()
}

// take reads from a socket once, and executes that.
func (l *loop) take(s *Socket) {
	if !s.state.CompareAndSwap(parked, taken) {
		return // it was resumed meanwhile
	}
	if err := s.raw.Read(l.read); err != nil {
		s.resume(nil, err)
		return
	}
	switch {
	case l.err == syscall.EAGAIN || l.err == syscall.EINTR:
	case l.err != 0:
		s.resume(nil, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", l.err)})
		return
	case l.n == 0:
		s.resume(nil, io.EOF)
		return
	default:
		if used := s.handler.Take(l.buf[:l.n], &l.round); used < l.n {
			s.resume(append([]byte(nil), l.buf[used:l.n]...), nil)
			return
		}
	}
	s.state.Store(parked)
	s.heed()
}

// The states of a Socket.
const (
	resumed uint32 = iota // its own goroutine has it
	parked                // its loop may read from it
	taken                 // its loop reads from it just now
)

// Socket is the place of one connection in a loop. A nil Socket cannot be parked.
type Socket struct {
	loop    *loop
	raw     syscall.RawConn
	handler Handler
	state   atomic.Uint32
	kicked  atomic.Bool
	fd      int32
}

// Socket returns a connection's place in one of the loops; nil for anything but a TCP
// connection without TLS.
func (ls *Loops) Socket(nc net.Conn, h Handler) *Socket {
	tcp, ok := nc.(*net.TCPConn)
	if !ok || ls == nil {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return &Socket{loop: ls.all[int(ls.turn.Add(1))%len(ls.all)], raw: raw, handler: h}
}

// Park hands the connection to its loop. The caller's goroutine has it no more, and ends,
// if Park returns true. It has set no deadline for reading, and has no bytes buffered.
func (s *Socket) Park() bool {
	if s == nil || s.kicked.Load() {
		return false
	}
	l, added := s.loop, false
	err := s.raw.Control(func(fd uintptr) {
		s.fd = int32(fd)
		l.mu.Lock()
		l.sockets[s.fd] = s
		l.mu.Unlock()
		s.state.Store(parked) // before the first event
		added = unix.EpollCtl(int(l.epoll()), unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}) == nil
	})
	switch {
	case err != nil: // it is closed
		return false
	case !added:
		s.forget()
		return !s.state.CompareAndSwap(parked, resumed) // kicked meanwhile: it is resumed already
	}
	s.heed()
	return true
}

// Kick has Resume called soon if the connection is parked; if not, the next Park fails.
// It is called after the connection was closed too, which the loop does not see.
func (s *Socket) Kick() {
	if s != nil {
		s.kicked.Store(true)
		s.heed()
	}
}

// Unkick is called by the connection's goroutine before it looks whether it should go on.
func (s *Socket) Unkick() {
	if s != nil {
		s.kicked.Store(false)
	}
}

// Parked reports whether the connection is parked.
func (s *Socket) Parked() bool { return s != nil && s.state.Load() != resumed }

// heed resumes a parked connection that was kicked.
func (s *Socket) heed() {
	if s.kicked.Load() && s.state.CompareAndSwap(parked, taken) {
		s.resume(nil, nil)
	}
}

func (s *Socket) resume(rest []byte, err error) {
	s.forget()
	_ = s.raw.Control(func(fd uintptr) { // on an error it is closed, and so the system has forgotten it
		_ = unix.EpollCtl(int(s.loop.epoll()), unix.EPOLL_CTL_DEL, int(fd), nil)
	})
	s.state.Store(resumed)
	go s.handler.Resume(rest, err) // the handler's owner waits for it
}

func (s *Socket) forget() {
	l := s.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sockets[s.fd] == s { // or a new connection has the number
		delete(l.sockets, s.fd)
	}
}

func (l *loop) epoll() (fd uintptr) {
	_ = l.raw.Control(func(epoll uintptr) { fd = epoll })
	return fd
}

func sysRead(fd uintptr, b []byte) (int, syscall.Errno) {
	n, _, err := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), err
}

// sysWait returns how many sockets are ready. It does not wait for one.
func sysWait(epoll uintptr, events []unix.EpollEvent) int {
	for {
		n, _, err := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, epoll, uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
		switch err {
		case 0:
			return int(n)
		case syscall.EINTR:
		default: // the instance is closed
			return 0
		}
	}
}
