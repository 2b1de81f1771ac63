//go:build !unix

package outbound

// rawSocket does not exist on this system: a goroutine writes.
type rawSocket struct{}

func newRawSocket(Conn) *rawSocket { return nil }

func (*rawSocket) write([]byte) (int, error) { return 0, nil }
