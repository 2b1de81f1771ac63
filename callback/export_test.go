package callback

// PendingRows is how many rows are to be written.
func (c *Service) PendingRows() int {
	k := c.keeper
	k.saving.Lock()
	defer k.saving.Unlock()
	return len(k.rows)
}
