//go:build packages || release

package packaging

// mostBytes is the most bytes of a released program.
const mostBytes = 20_000_000
