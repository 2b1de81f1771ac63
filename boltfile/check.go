package boltfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
)

// The format of a bbolt file, as its package writes it: pages of the same size, with
// numbers in the byte order of the machine. Each page begins with a head: its number (8
// bytes), flags (2), the number of elements that follow (2), the number of further pages
// that belong to it (4). The first two pages are metas, which are written in turn. The
// newer one names the page of the root bucket and that of the list of free pages.
const (
	headBytes    = 16
	elementBytes = 16 // of a leaf: flags, position, key size, value size; of a branch: position, key size, page
	bucketBytes  = 16 // root page, sequence; with a root of 0 a page follows in the value

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10

	bucketFlag = 0x01 // of a leaf's element

	metaMagic    = 0xED0CDAED
	metaVersion  = 2
	metaBytes    = 64
	metaSumBytes = 56 // the bytes that the checksum covers
	noFreelist   = ^uint64(0)

	deepest = 64 // levels; more than any tree has
)

var order = binary.NativeEndian

// meta is the content of a meta page.
type meta struct {
	pageSize, root, freelist, pages, txid uint64
}

// checker reads a file page by page and finds damage. Bbolt trusts each size and number
// that it reads: at damage it would panic or, worse, go on. The checker reads with system
// calls, so a page that the disk cannot read is an error and no signal.
type checker struct {
	file io.ReaderAt
	size uint64
	meta
	used    []uint64 // one bit for each page
	oneBad  bool     // one of the metas is damaged
	buffers [][]byte // by depth: a page is needed while the pages below it are read
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// check reads a whole file and returns its damage as an error. OneBad says that one of the
// metas is damaged: the file is whole, but its newest change may be missing. Check needs
// as much memory as the largest value.
func check(file io.ReaderAt, size int64) (oneBad bool, err error) {
	c := &checker{file: file, size: uint64(max(size, 0))}
	if err := c.readMetas(); err != nil {
		return false, err
	}
	if c.size/c.pageSize < c.pages {
		return false, damaged("it has %d bytes of %d", c.size, c.pages*c.pageSize)
	}
	c.used = make([]uint64, c.pages/64+1)
	for page := range uint64(2) {
		c.use(page)
	}
	if err := c.tree(c.root, nil, nil, 0); err != nil {
		return false, err
	}
	return c.oneBad, c.free()
}

// readMetas finds the meta that bbolt will use: the newer one, or the only good one.
func (c *checker) readMetas() error {
	first, ok := c.readMeta(0)
	if ok {
		second, ok := c.readMeta(first.pageSize)
		c.oneBad = !ok
		c.meta = first
		if ok && second.txid > first.txid {
			c.meta = second
		}
		return nil
	}
	for at := uint64(1 << 10); at <= 1<<24; at <<= 1 { // the page size is not known
		if second, ok := c.readMeta(at); ok && second.pageSize == at {
			c.meta, c.oneBad = second, true
			return nil
		}
	}
	return damaged("it has no head")
}

func (c *checker) readMeta(at uint64) (m meta, ok bool) {
	var b [headBytes + metaBytes]byte
	if _, err := c.file.ReadAt(b[:], int64(at)); err != nil {
		return m, false
	}
	text := b[headBytes:]
	sum := fnv.New64a()
	_, _ = sum.Write(text[:metaSumBytes])
	if order.Uint32(text) != metaMagic || order.Uint32(text[4:]) != metaVersion || order.Uint64(text[metaSumBytes:]) != sum.Sum64() {
		return m, false
	}
	m = meta{
		pageSize: uint64(order.Uint32(text[8:])), root: order.Uint64(text[16:]), freelist: order.Uint64(text[32:]),
		pages: order.Uint64(text[40:]), txid: order.Uint64(text[48:]),
	}
	return m, m.pageSize >= headBytes+metaBytes && m.pages >= 2
}

// use marks a page as used, and reports whether it was unused before.
func (c *checker) use(page uint64) bool {
	at, bit := page/64, uint64(1)<<(page%64)
	fresh := c.used[at]&bit == 0
	c.used[at] |= bit
	return fresh
}

// page reads a page and the further pages that belong to it. Each may be used only once.
// The slice is valid until the next page of that depth is read.
func (c *checker) page(number uint64, depth int) ([]byte, error) {
	if number < 2 || number >= c.pages {
		return nil, damaged("page %d is not in the file", number)
	}
	for len(c.buffers) <= depth {
		c.buffers = append(c.buffers, nil)
	}
	b := slices.Grow(c.buffers[depth][:0], int(c.pageSize))[:c.pageSize]
	c.buffers[depth] = b
	if err := c.read(b, number); err != nil {
		return nil, err
	}
	if order.Uint64(b) != number {
		return nil, damaged("page %d says that it is page %d", number, order.Uint64(b))
	}
	more := uint64(order.Uint32(b[12:]))
	if more >= c.pages-number {
		return nil, damaged("page %d is longer than the file", number)
	}
	for i := range more + 1 {
		if !c.use(number + i) {
			return nil, damaged("page %d is used twice", number+i)
		}
	}
	if more == 0 {
		return b, nil
	}
	b = slices.Grow(b, int(more*c.pageSize))[:(more+1)*c.pageSize]
	c.buffers[depth] = b
	return b, c.read(b[c.pageSize:], number+1)
}

func (c *checker) read(b []byte, page uint64) error {
	if _, err := c.file.ReadAt(b, int64(page*c.pageSize)); err != nil {
		return fmt.Errorf("%w: page %d: %w", ErrDamaged, page, err)
	}
	return nil
}

// tree checks a page of a bucket and the pages below it. Their keys must be at least least
// and less than limit; nil: no bound.
func (c *checker) tree(number uint64, least, limit []byte, depth int) error {
	if depth > deepest {
		return damaged("page %d is too deep", number)
	}
	b, err := c.page(number, depth)
	if err != nil {
		return err
	}
	return c.elements(b, fmt.Sprintf("page %d", number), least, limit, depth)
}

// elements checks a page of a tree that is in b, and the pages below it.
func (c *checker) elements(b []byte, name string, least, limit []byte, depth int) error {
	if len(b) < headBytes {
		return damaged("%s is cut", name)
	}
	kind, count := order.Uint16(b[8:]), int(order.Uint16(b[10:]))
	switch {
	case kind != branchPage && kind != leafPage:
		return damaged("%s is of the unknown kind %#x", name, kind)
	case count*elementBytes > len(b)-headBytes:
		return damaged("%s has no room for %d elements", name, count)
	case kind == branchPage && count == 0:
		return damaged("%s has nothing below it", name)
	}
	var keys [][]byte
	for i := range count {
		key, err := c.element(b, i, kind, depth)
		if err != nil {
			return fmt.Errorf("%w (%s, element %d)", err, name, i)
		}
		if i == 0 && least != nil && bytes.Compare(key, least) < 0 || limit != nil && bytes.Compare(key, limit) >= 0 ||
			i > 0 && bytes.Compare(key, keys[i-1]) <= 0 {
			return damaged("%s has its keys in no order", name)
		}
		keys = append(keys, key)
	}
	if kind == leafPage {
		return nil
	}
	for i, key := range keys {
		below := limit
		if i+1 < count {
			below = keys[i+1]
		}
		if err := c.tree(order.Uint64(b[headBytes+i*elementBytes+8:]), key, below, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// element checks one element of a page and returns its key. If the element is a bucket,
// it checks that too.
func (c *checker) element(b []byte, i int, kind uint16, depth int) (key []byte, err error) {
	at := headBytes + i*elementBytes
	head := b[at : at+elementBytes]
	flags, position, keySize, valueSize := uint32(0), order.Uint32(head), order.Uint32(head[4:]), uint32(0)
	if kind == leafPage {
		flags, position, keySize, valueSize = position, keySize, order.Uint32(head[8:]), order.Uint32(head[12:])
	}
	begin := uint64(at) + uint64(position)
	end := begin + uint64(keySize)
	first := uint64(headBytes) + uint64(order.Uint16(b[10:]))*elementBytes
	if keySize == 0 || begin < first || end+uint64(valueSize) > uint64(len(b)) || flags&^bucketFlag != 0 {
		return nil, damaged("a key or a value is not in its page")
	}
	key = b[begin:end]
	if flags&bucketFlag == 0 {
		return key, nil
	}
	value := b[end : end+uint64(valueSize)]
	if len(value) < bucketBytes {
		return nil, damaged("a bucket is cut")
	}
	if root := order.Uint64(value); root != 0 {
		return key, c.tree(root, nil, nil, depth+1)
	}
	return key, c.elements(value[bucketBytes:], "a small bucket", nil, nil, depth+1)
}

// free checks the list of free pages, because bbolt overwrites pages that it lists.
func (c *checker) free() error {
	if c.freelist == noFreelist {
		return nil
	}
	b, err := c.page(c.freelist, 0)
	if err != nil {
		return err
	}
	if order.Uint16(b[8:]) != freelistPage {
		return damaged("the list of free pages is none")
	}
	count, list := uint64(order.Uint16(b[10:])), b[headBytes:]
	if count == 0xFFFF {
		count, list = order.Uint64(list), list[8:]
	}
	if count > uint64(len(list))/8 {
		return damaged("the list of free pages is cut")
	}
	for i := range count {
		page := order.Uint64(list[i*8:])
		if page < 2 || page >= c.pages || !c.use(page) {
			return damaged("page %d cannot be free", page)
		}
	}
	return nil
}
