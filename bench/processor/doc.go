// Package processor reads the processor time of another process.
package processor
