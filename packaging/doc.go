// Package packaging holds what makes packages of the program, and its tests.
//
//	nfpm.yaml        the deb and the rpm
//	systemd/         the service, and a timer for backups
//	linux/           scripts of the packages, the user, the head of the configuration
//	container/       a container's image and a compose file
//	homeassistant/   the add-on; DOCS.md is its page
//	grafana/, prometheus/   a dashboard, alerts, and what Prometheus has to know of the gateway
package packaging
