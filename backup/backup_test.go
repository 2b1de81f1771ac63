package backup

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var files = map[string]string{"a.db": "the first\n", "b.db": string(bytes.Repeat([]byte("second "), 30_000)), "key": ""}

func made(t *testing.T) []byte {
	c := NewCopies("1.2.3", "0123abcd")
	defer c.Close()
	dir := t.TempDir()
	for _, name := range []string{"a.db", "b.db", "key"} {
		require.NoError(t, c.Add(dir, name, func(w io.Writer) error { _, err := io.WriteString(w, files[name]); return err }))
	}
	var b bytes.Buffer
	require.NoError(t, c.Write(&b))
	assert.EqualValues(t, b.Len(), c.Bytes())
	assert.Regexp(t, `^watchtower-0123abcd-\d{8}-\d{6}\.tar$`, c.Name())
	c.Close()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
	return b.Bytes()
}

func plan(dir string) Plan {
	return Plan{Dir: dir, Files: []string{"a.db", "b.db", "key"}, Required: []string{"a.db"}}
}

func content(t *testing.T, dir string) map[string]string {
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		all[e.Name()] = string(b)
	}
	return all
}

func TestWhatIsBackedUpIsRestored(t *testing.T) {
	whole := made(t)
	m, err := Verify(bytes.NewReader(whole))
	require.NoError(t, err)
	assert.Equal(t, "1.2.3", m.Version)
	dir := t.TempDir()
	done, err := Restore(bytes.NewReader(whole), plan(dir))
	require.NoError(t, err)
	assert.Empty(t, done.Kept)
	assert.Equal(t, files, content(t, dir))
	for name := range files {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
}

// Root restores into the directory of a user who may have put links there.
func TestARestoreFollowsNoLink(t *testing.T) {
	dir, other := t.TempDir(), filepath.Join(t.TempDir(), "shadow")
	require.NoError(t, os.WriteFile(other, []byte("of root"), 0o600))
	require.NoError(t, os.Symlink(other, filepath.Join(dir, "key"+newSuffix)))
	_, err := Restore(bytes.NewReader(made(t)), plan(dir))
	require.NoError(t, err)
	assert.Equal(t, files, content(t, dir))
	b, err := os.ReadFile(other)
	require.NoError(t, err)
	assert.Equal(t, "of root", string(b))
}

// At whatever step a restore is killed, the directory is unchanged or, after Finish,
// restored.
func TestARestoreIsFinished(t *testing.T) {
	whole := made(t)
	old := map[string]string{"a.db": "old a", "key": "old key", "other": "stays"}
	prepared := func() string {
		dir := t.TempDir()
		for name, text := range old {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
		_, err := prepare(bytes.NewReader(whole), plan(dir))
		require.NoError(t, err)
		return dir
	}
	dir := prepared()
	require.NoError(t, os.Remove(filepath.Join(dir, journalName))) // killed before the journal
	kept, err := Finish(dir)
	require.NoError(t, err)
	assert.Empty(t, kept)
	assert.Equal(t, old, content(t, dir))

	probe := prepared()
	text, err := os.ReadFile(filepath.Join(probe, journalName))
	require.NoError(t, err)
	var j journal
	require.NoError(t, json.Unmarshal(text, &j))
	steps := [][2]string{{"a.db", "a.db" + "ASIDE"}, {"a.db" + newSuffix, "a.db"}, {"b.db" + newSuffix, "b.db"}, {"key", "key" + "ASIDE"}, {"key" + newSuffix, "key"}}
	for n := range len(steps) + 1 {
		dir := prepared()
		text, err := os.ReadFile(filepath.Join(dir, journalName))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &j))
		named := func(s string) string {
			if before, found := bytes.CutSuffix([]byte(s), []byte("ASIDE")); found {
				s = string(before) + j.Aside
			}
			return filepath.Join(dir, s)
		}
		for _, s := range steps[:n] {
			require.NoError(t, os.Rename(named(s[0]), named(s[1])))
		}
		_, err = Finish(dir)
		require.NoError(t, err)
		want := map[string]string{"other": "stays", "a.db" + j.Aside: "old a", "key" + j.Aside: "old key"}
		for name, text := range files {
			want[name] = text
		}
		assert.Equal(t, want, content(t, dir), "after %d steps", n)
		_, err = Finish(dir)
		require.NoError(t, err)
		assert.Equal(t, want, content(t, dir), "again")
	}
}

func TestABackupThatIsNotAsItWasChangesNothing(t *testing.T) {
	whole := made(t)
	archive := func(m any, names ...string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		text, err := json.Marshal(m)
		require.NoError(t, err)
		for i, name := range append([]string{manifestName}, names...) {
			if i > 0 {
				text = nil
			}
			require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(text)), Mode: 0o600}))
			_, err := w.Write(text)
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		return b.Bytes()
	}
	const nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	flip := func(text string) []byte {
		require.Equal(t, 1, bytes.Count(whole, []byte(text)), text)
		return bytes.Replace(whole, []byte(text), append([]byte{text[0] ^ 1}, text[1:]...), 1)
	}
	for name, bad := range map[string][]byte{
		"empty":      nil,
		"no archive": bytes.Repeat([]byte("x"), 3000),
		"cut":        whole[:len(whole)/2],
		"a file":     flip("the first"),
		"the manifest": flip(`{
  "watchtower_backup"`),
		"another program's": archive(map[string]any{"files": []Entry{}}),
		"elsewhere":         archive(Manifest{Format: 1, Files: []Entry{{"a.db", 0, nothing}, {"../evil", 0, nothing}}}, "a.db", "../evil"),
		"twice":             archive(Manifest{Format: 1, Files: []Entry{{"a.db", 0, nothing}, {"a.db", 0, nothing}}}, "a.db", "a.db"),
		"without a file":    archive(Manifest{Format: 1, Files: []Entry{{"a.db", 0, nothing}, {"key", 0, nothing}}}, "a.db"),
		"with one more":     archive(Manifest{Format: 1, Files: []Entry{{"a.db", 0, nothing}}}, "a.db", "b.db"),
		"nothing required":  archive(Manifest{Format: 1, Files: []Entry{{"key", 0, nothing}}}, "key"),
		"a newer format":    archive(Manifest{Format: 2, Files: []Entry{{"a.db", 0, nothing}}}, "a.db"),
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "a.db"), []byte("old"), 0o600))
		_, err := Restore(bytes.NewReader(bad), plan(dir))
		require.ErrorContains(t, err, "nothing is restored", name)
		assert.Equal(t, map[string]string{"a.db": "old"}, content(t, dir), name)
	}
	unusable := plan(t.TempDir())
	unusable.Check = func(string, string) error { return errors.New("no") }
	_, err := Restore(bytes.NewReader(whole), unusable)
	require.ErrorContains(t, err, "no")
	assert.Empty(t, content(t, unusable.Dir))
}
