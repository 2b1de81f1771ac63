package mqtt

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

// keeper writes changes to the store, in groups, in its own goroutine: a change of a
// session or a retained message is only noted by the goroutine that makes it.
//
// A delivery is written once it has waited from one group to the next. So a receiver that
// keeps up causes no writes, and a power failure loses a second at most.
type keeper struct {
	store    Store
	sessions *sessions
	records  *spaceRecords // nil: this gateway is alone
	retained *retained
	every    time.Duration
	log      *logrus.Logger

	lastSession atomic.Uint64
	changes     changes
	rounds      atomic.Uint64 // how often it has saved

	// The saving goroutine's own:
	group    uint64 // the number of the next group
	lastBody uint64
	rows     map[string][]byte // changes that are not on disk yet, by table and key
	pending  int               // bytes of rows
	taken    time.Time         // when this round took the changes
	before   time.Time         // when the last round did: older changes are on disk
	scratch  []delivery        // of takeQueue
}

// onDisk is the group of the rows that were on disk at the start, firstGroup the first
// group written after that. 0: not on disk.
const (
	onDisk     = 1
	firstGroup = 2
)

// groupBytes is the size at which a group is written before more is encoded. It bounds
// memory: the store holds the rows a second time while it writes.
const groupBytes = 4 << 20

// roomForMore writes the group if it is large. It reports false if that failed.
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
		return false // logged by the store; k.rows keeps the rows for the next try
	}
	k.rows, k.pending = map[string][]byte{}, 0 // a map does not shrink
	k.group++
	if late := time.Since(k.before); !k.before.IsZero() && late > max(time.Second, 4*k.every) {
		k.log.WithField("took", late.String()).WithField("rows", len(rows)).Warn("the disk or the processor is slow: more than a second of MQTT state would have been lost with the power")
	}
	return true
}

// set adds a row to the group; a nil value deletes the row.
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

// removeNumbered deletes a row that was first put into that group, and whose number is
// never used again. If the group is not on disk, the row is only forgotten: a disk that
// fails for a long time does not fill the memory with deletions.
func (k *keeper) removeNumbered(t Table, key []byte, group uint64) {
	if group == k.group {
		k.forget(t, key)
	} else {
		k.set(t, key, nil)
	}
}
