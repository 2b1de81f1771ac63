package callback

// PendingRows returns how many rows are not written yet.
func (c *Service) PendingRows() int {
	k := c.keeper
	k.saving.Lock()
	defer k.saving.Unlock()
	return len(k.rows)
}
