package operator

import (
	"fmt"
	nethttp "net/http"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// backup answers GET /operator/backup. It makes the whole copy before it sends anything, so
// that a slow client delays nobody else.
func (s *Service) backup(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	if !s.copying.TryLock() {
		return fault(backupRunning, "", "another backup is being made or sent: try again when it is done")
	}
	defer s.copying.Unlock()
	b, err := s.opts.Backup()
	if err != nil {
		s.log.WithError(err).Error("backup not made")
		return fault(bridge.StoreFailed, "", "the backup could not be made: %s", err)
	}
	defer b.Close()
	h := w.Header()
	h.Set("Content-Type", "application/x-tar")
	h.Set("Content-Length", strconv.FormatInt(b.Bytes(), 10))
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s"`, b.Name()))
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(nethttp.StatusOK)
	if err := b.Write(&paced{w, nethttp.NewResponseController(w), s.opts.WriteTimeout}); err != nil {
		s.did(r, "backup not taken to its end", logrus.Fields{"why": err.Error()})
		panic(nethttp.ErrAbortHandler) // breaks the connection, so that the client notices
	}
	if s.opts.BackedUp != nil {
		s.opts.BackedUp()
	}
	s.did(r, "operator took a backup", logrus.Fields{"bytes": b.Bytes()})
	return nil
}

// paced gives each write its own deadline: a large answer may take long, as long as the
// client keeps reading.
type paced struct {
	w       nethttp.ResponseWriter
	control *nethttp.ResponseController
	each    time.Duration
}

func (p *paced) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(p.each)) // fails only if the writer has no deadlines
	return p.w.Write(b)
}
