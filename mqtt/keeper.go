package mqtt

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

// keeper writes what changed to the store, in groups, and in nobody's way: who
// changes a session or a retained message only notes that it did.
//
// What is acknowledged soon is never written: a delivery is written once it
// has waited from one group to the next. So a second at most is lost, and a
// receiver that keeps up costs the disk nothing.
type keeper struct {
	store    Store
	sessions *sessions
	retained *retained
	every    time.Duration
	log      *logrus.Logger

	lastSession atomic.Uint64
	changes     changes

	// The saving goroutine's own:
	group    uint64 // the number of the next to be written
	lastBody uint64
	rows     map[string][]byte // changes that are not on disk yet, by table and key
	pending  int               // bytes of them
	taken    time.Time         // when the changes of this round were taken
	before   time.Time         // and those of the round before: what is older is on disk
	scratch  []delivery        // of takeQueue
}

// onDisk is the group of what the store had at the start, and firstGroup the first
// that is written after it. 0 is that of what is not on disk.
const (
	onDisk     = 1
	firstGroup = 2
)

// groupBytes is after how much a group is written before more is encoded: what
// is being written takes memory a second time.
const groupBytes = 4 << 20

// roomForMore writes the group if it is large, and reports whether it was written.
func (k *keeper) roomForMore() bool { return k.pending < groupBytes || k.commit() }

// commit writes one group, and reports whether it is on disk.
func (k *keeper) commit() bool {
	if len(k.rows) == 0 {
		return true
	}
	rows := make([]Row, 0, len(k.rows))
	for key, value := range k.rows {
		rows = append(rows, Row{Table: Table(key[0]), Key: []byte(key[1:]), Value: value})
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), slices.Compare(a.Key, b.Key))
	})
	if err := k.store.Commit(rows); err != nil {
		return false // the store says so in the log; k.rows keeps them, and merges what comes
	}
	k.rows, k.pending = map[string][]byte{}, 0 // a map does not shrink
	k.group++
	if late := time.Since(k.before); !k.before.IsZero() && late > max(time.Second, 4*k.every) {
		k.log.WithField("took", late.String()).WithField("rows", len(rows)).Warn("the disk or the processor is slow: more than a second of MQTT state would have been lost with the power")
	}
	return true
}

// set has a row written; a nil value deletes it.
func (k *keeper) set(t Table, key, value []byte) {
	at := k.forget(t, key)
	k.rows[at] = value
	k.pending += len(at) + len(value)
}

// forget takes back a change that is not on disk yet, and returns its key in rows.
func (k *keeper) forget(t Table, key []byte) string {
	at := string(byte(t)) + string(key)
	if was, ok := k.rows[at]; ok {
		k.pending -= len(at) + len(was)
		delete(k.rows, at)
	}
	return at
}

// removeNumbered deletes a row whose number is never used again, and that was
// first put in that group. If the group is not on disk, nothing has to be
// deleted there: a disk that fails for a year fills no memory.
func (k *keeper) removeNumbered(t Table, key []byte, group uint64) {
	if group == k.group {
		k.forget(t, key)
	} else {
		k.set(t, key, nil)
	}
}
