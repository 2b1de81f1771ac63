package bridge

import "context"

// Documents are small documents, by key, that gateways share. Each gateway has all of them in
// memory. They are written when a server takes them: nobody waits for that who does not want to.
type Documents interface {
	// Touch has the document of a key written as its owner wants it.
	Touch(key string)
	// Wait returns once that is written, or with ctx's error.
	Wait(ctx context.Context, key string) error
}

// DocumentOwner is who knows what documents mean. Its methods are called without locks, one at a
// time.
type DocumentOwner interface {
	// Heard takes the document of a key, as a gateway has written it; nil: it is deleted.
	Heard(key string, document []byte)
	// Wanted returns what a document is to be, which is theirs now; nil: none. It may be asked
	// again if another gateway was faster.
	Wanted(key string, theirs []byte) []byte
	// Ready is called when all documents were heard: has tells which there are.
	Ready(has func(key string) bool)
}
