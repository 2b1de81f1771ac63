package nats

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestOldServersAreRefused(t *testing.T) {
	for version, want := range map[string]bool{"2.9.10": true, "1.4.1": true, "2.10.0": false, "2.15.2": false, "3.0.0": false, "2.11.0-RC.1": false, "": false} {
		assert.Equal(t, want, tooOld(version), version)
	}
}

func TestANameIsALevelOfASubject(t *testing.T) {
	assert.Equal(t, "ann/lamp=2", encoded("ann.lamp:2"))
}
