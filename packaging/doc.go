// Package packaging holds what makes packages of the program, and its tests.
//
//	nfpm.yaml   the deb and the rpm
//	systemd/    the service
//	linux/      scripts of the packages, the user, the head of the configuration
package packaging
