// Package packaging holds what makes packages of the program, and its tests.
//
//	nfpm.yaml        the deb and the rpm
//	systemd/         the service
//	linux/           scripts of the packages, the user, the head of the configuration
//	container/       a container's image and a compose file
//	homeassistant/   the add-on; DOCS.md is its page
//	grafana/, prometheus/   a dashboard and alerts
package packaging
