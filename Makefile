# make            build the binary
# make install    install it, its unit, manual and configuration (DESTDIR for packagers)
# make uninstall  take that away again, but for the configuration
# make deb        build .cache/deb/xl2tpd-keepalive_VERSION_ARCH.deb, for Debian 11, 12 and 13 (ARCH=arm64 for another one)
# make release    what is published, in .cache/release: packages for ARCHES, their source, an SBOM and SHA256SUMS
# make test       every test, and every scenario of the lab without a command of its own (DEBIANS="bullseye bookworm trixie")
# make unit       those that need no virtual machine
# make lint       the shell scripts, and how strictly systemd confines the services
# make test-architectures   the unit tests on the other architectures that packages are built for, with QEMU's help
# make captures   what trace and report write for Wireshark, with a real tshark
# make monitoring the alert rules and the dashboard, with a real Prometheus
# make copies     whether a trace of a router makes a copy of it that does the same (PERSONALITIES="nvr510 debian")
# make mtu        path MTU and its remedy on 24 kinds of lines; LINES="1280 hole" for those of them
# make fuzz       look for packets that break the Hello guard, FUZZTIME=10m for each part
# make demo       the same tunnels without and with xl2tpd-keepalive, as a timeline
# make pictures   what status, status --watch and doctor look like, as SVG
# make soak       many kinds of peers, HOURS=24 of guest time with GUARD=on, and minutes without the guard
# make bad-lines  drops on lines that lose 0, 5 and 20 %, HOURS=2 of guest time without the guard, and with it (MODE=kernel)
# make matrix     what brings a tunnel back after which trouble, and when: xl2tpd, a script, or the service (TIMES=10 of each)
# make chaos      random faults, SEEDS=20 times for SPAN=1h of guest time; a seed that failed again: SEED=7 SEEDS=1
# make instances  three xl2tpds on one host, each killed, stopped and restarted in turn (MODE=kernel)
# make bench      what the hot paths cost, with up to 4000 tunnels
# make scale      what many tunnels cost: the service, ping, smokeping_prober (TUNNELS=100); many lost at the same time; charon restarts, under 1000 SAs too (SAS=1000)
# make links      what many links cost on this machine, without a VM: the service, fping, ping, smokeping_prober, a script (LINKS="10 100 1000 4000")
# make throughput a tunnel's data with the guard and without; CLOCK=real wants a quiet machine
# make model      a model of the Hello guard against peers and bad lines: CHECKS=1000000 histories, and HISTORIES=100 for rates
# make attempts   how often recovery tries in an hour if nothing helps
# make results    write the figures of docs/results/*.json into the documents; RESULTS=docs/results has a run write its own there
# make lab RUN=x  one scenario, with its whole log (CLOCK=real for real time)
# make lab-bullseye  what xl2tpd 1.3.12 of Debian 11 does otherwise: a redial that has died, PPP that has given up
# make lab-debian install, upgrade and remove the package under living tunnels on Debian 11, 12 and 13

GO      ?= go
CLOCK   ?= skip
HOURS   ?= 24
GUARD   ?= on
MODE    ?= kernel
KILLS   ?= 40
TIMES   ?= 10
SEED    ?= 1
SEEDS   ?= 20
SPAN    ?= 1h
TUNNELS ?= 100
SAS     ?= 1000
LINKS   ?= 10 100 1000 4000
RESULTS ?= .cache/results
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  ?= $(shell git describe --always --exclude='*' --abbrev=12 --dirty=+changes 2>/dev/null)
CACHE   := .cache/lab
PROMETHEUS := .cache/prometheus
SMOKEPING  := .cache/smokeping
IMAGE   := $(CACHE)/bookworm
DISK    := $(CACHE)/disk
LAB      = $(GO) run ./lab -image $(IMAGE) -disk $(DISK) -out $(CACHE)/out -results $(RESULTS) -clock $(CLOCK) \
           -set GUARD=$(GUARD) -set MODE=$(MODE) -set DURATION=$(HOURS)h -set KILLS=$(KILLS) -set TIMES=$(TIMES) \
           -set SEED=$(SEED) -set SPAN=$(SPAN) -set TUNNELS=$(TUNNELS) -set SAS=$(SAS)
# $(RECORD) NAME -- COMMAND: a command that says figures. AGAIN is $(MAKE), which make would start even with -n.
RECORD  := $(GO) run ./lab -out $(CACHE)/out -results $(RESULTS) record
AGAIN   := $(MAKE) --no-print-directory
# Packages with tests that need a real daemon or kernel facility: *_lab_test.go.
LAB_TESTS := $(sort $(dir $(shell find . -name '*_lab_test.go' -not -path './.cache/*')))
TOOLS   := qemu-system-x86 mmdebstrap e2fsprogs xz-utils gcc libc6-dev iproute2 git mandoc man-db zsh fish shellcheck curl systemd
DEBIANS ?= bullseye bookworm trixie
# make test plays its scenarios on Debian 12 alone if it is not asked for others.
TEST_DEBIANS := $(if $(filter command,$(origin DEBIANS)),$(DEBIANS),bookworm)
CODE    := $(filter-out deploy/ lab/,$(wildcard */))

DEB         := .cache/deb
DEB_DISK    := $(CACHE)/deb-disk
DEB_VERSION ?= $(shell sed -n '1s/.*(\(.*\)).*/\1/p' deploy/debian/changelog)
ARCH        ?= $(shell dpkg --print-architecture)
RELEASE     := .cache/release
ARCHES      ?= amd64 arm64 armhf i386

# Stops with one line if Go is missing or too old. An old Go only says that it does not understand go.mod, and a newer
# one may get the right version by itself, but not outside the module.
go_needed = $(shell sed -n 's/^go //p' go.mod)
go_found  = $(shell { $(GO) env GOVERSION || { cd / && $(GO) env GOVERSION; }; } 2>/dev/null | sed 's/^devel //; s/ .*//')
check_go  = $(if $(shell printf '%s\n' go$(go_needed) $(or $(go_found),go0) | sort -VC && echo new enough),,$(error \
	Go $(go_needed) or later is needed, and $(GO) is $(or $(go_found),not there). Get it from https://go.dev/dl/, \
	then: make GO=/usr/local/go/bin/go))

.PHONY: build install uninstall deb release test test-all unit unit-all lint test-architectures bench bench-all monitoring captures copies mtu fuzz fuzz-all model model-all attempts attempts-all results demo pictures soak bad-lines matrix chaos scale links throughput instances lab lab-bullseye lab-debian disk tools deb-tools release-tools links-tools captures-tools architectures-tools clean

build: xl2tpd-keepalive

xl2tpd-keepalive: go.mod go.sum $(shell find $(CODE) -name '*.go' ! -name '*_test.go' -o -name '*.po')
	$(check_go)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)" -o xl2tpd-keepalive ./cmd/xl2tpd-keepalive

install: build
	install -D -m 755 xl2tpd-keepalive $(DESTDIR)/usr/sbin/xl2tpd-keepalive
	install -d $(DESTDIR)/usr/lib/systemd/system
	install -m 644 deploy/xl2tpd-keepalive.service deploy/xl2tpd-keepalive-control.socket deploy/xl2tpd-keepalive-control@.service $(DESTDIR)/usr/lib/systemd/system
	install -D -m 644 deploy/sysusers.conf $(DESTDIR)/usr/lib/sysusers.d/xl2tpd-keepalive.conf
	install -D -m 644 deploy/xl2tpd-keepalive.8 $(DESTDIR)/usr/share/man/man8/xl2tpd-keepalive.8
	install -D -m 644 deploy/keepalive.conf.5 $(DESTDIR)/usr/share/man/man5/keepalive.conf.5
	install -D -m 644 deploy/ja/xl2tpd-keepalive.8 $(DESTDIR)/usr/share/man/ja/man8/xl2tpd-keepalive.8
	install -D -m 644 deploy/ja/keepalive.conf.5 $(DESTDIR)/usr/share/man/ja/man5/keepalive.conf.5
	install -D -m 644 deploy/completion/xl2tpd-keepalive.bash $(DESTDIR)/usr/share/bash-completion/completions/xl2tpd-keepalive
	install -D -m 644 deploy/completion/_xl2tpd-keepalive $(DESTDIR)/usr/share/zsh/vendor-completions/_xl2tpd-keepalive
	install -D -m 644 deploy/completion/xl2tpd-keepalive.fish $(DESTDIR)/usr/share/fish/vendor_completions.d/xl2tpd-keepalive.fish
	test -e $(DESTDIR)/etc/xl2tpd/keepalive.conf || install -D -m 644 deploy/keepalive.conf $(DESTDIR)/etc/xl2tpd/keepalive.conf

uninstall:
	rm -f $(addprefix $(DESTDIR)/usr/,sbin/xl2tpd-keepalive $(addprefix lib/systemd/system/,$(notdir $(wildcard deploy/*.service deploy/*.socket))) \
		lib/sysusers.d/xl2tpd-keepalive.conf share/man/man8/xl2tpd-keepalive.8 share/man/man5/keepalive.conf.5 \
		share/man/ja/man8/xl2tpd-keepalive.8 share/man/ja/man5/keepalive.conf.5 \
		share/bash-completion/completions/xl2tpd-keepalive share/zsh/vendor-completions/_xl2tpd-keepalive \
		share/fish/vendor_completions.d/xl2tpd-keepalive.fish)

# $(call source_tree,FOLDER,COMMAND): what a package is built from, out of the archive that COMMAND writes. debhelper
# wants debian/ at the root. The modules are in vendor/, so that the build needs no network.
define source_tree
	rm -rf $(dir $(1)) && mkdir -p $(1)
	$(2) | tar -x -C $(1)
	mv $(1)/deploy/debian $(1)/debian
	sed -i '1s/(.*)/($(DEB_VERSION))/' $(1)/debian/changelog
	echo '$(COMMIT)' > $(1)/debian/commit
	cd $(1) && $(GO) mod vendor
	chmod -R u=rwX,go=rX $(1)
endef

# -d: Go comes from PATH, not from a package. debhelper replaces HOME, where Go has its cache.
BUILD_DEB = GO="$$($(GO) env GOROOT)/bin/go" GOCACHE="$$($(GO) env GOCACHE)" dpkg-buildpackage -d -b -us -uc

deb: deb-tools
	$(check_go)
	$(call source_tree,$(DEB)/new/tree,tar -c $(CODE) deploy go.mod go.sum Makefile LICENSE CHANGELOG.md)
	cd $(DEB)/new/tree && $(BUILD_DEB) -a$(ARCH)
	rm -f $(DEB)/*_$(ARCH).deb && mv $(DEB)/new/*_$(ARCH).deb $(DEB) && rm -r $(DEB)/new

# Built from the newest commit, by way of the source package. The same commit gives the same files, byte for byte.
release: export LC_ALL = C
release: NEW = $(RELEASE).new
release: TREE = xl2tpd-keepalive-$(DEB_VERSION)
release: release-tools
	$(check_go)
	@if [ -n "$$(git status --porcelain)" ]; then echo "make release: commit or stash your changes first" >&2; exit 1; fi
	@tag=$$(git describe --tags --exact-match --match 'v*' 2>/dev/null) || exit 0; \
	if [ "$$tag" != v$(DEB_VERSION) ]; then echo "make release: the tag is $$tag, and deploy/debian/changelog says $(DEB_VERSION)" >&2; exit 1; fi; \
	if git grep -n 'xl2tpd-keepalive[.]invalid'; then echo "make release: put real addresses in these places before a release" >&2; exit 1; fi
	$(call source_tree,$(NEW)/$(TREE),git archive HEAD)
	cd $(NEW) && dpkg-source -b $(TREE) && rm -r $(TREE) && dpkg-source -x xl2tpd-keepalive_$(DEB_VERSION).dsc $(TREE)
	for arch in $(ARCHES); do (cd $(NEW)/$(TREE) && $(BUILD_DEB) -a$$arch) || exit; done
	SOURCE_DATE_EPOCH=$$(dpkg-parsechangelog -l deploy/debian/changelog -S Timestamp) \
		$(GO) run ./deploy/sbom $(NEW)/*.deb > $(NEW)/xl2tpd-keepalive_$(DEB_VERSION).cdx.json
	cd $(NEW) && rm -r $(TREE) *.buildinfo *.changes && lintian --allow-root -I --pedantic --fail-on error,warning *.dsc *.deb
	cd $(NEW) && sha256sum * > SHA256SUMS && cat SHA256SUMS
	rm -rf $(RELEASE) && mv $(NEW) $(RELEASE)

test:
	$(RECORD) test -- $(AGAIN) test-all

test-all: unit lint monitoring $(TEST_DEBIANS:%=$(CACHE)/%/root.ext4) disk
	for suite in $(TEST_DEBIANS); do $(LAB) -image $(CACHE)/$$suite test || exit; done

unit:
	$(RECORD) unit -- $(AGAIN) unit-all

# Where no goroutine starts there is no race, and the detector takes ten times as long.
SEQUENTIAL := internal/helloguard/translator lab/personality

unit-all: tools
	$(GO) vet ./... && $(GO) vet -tags lab ./...
	@! grep -rnE --include='*.go' '^\s*go [a-z(]|\.Go\(|Parallel\(|AfterFunc|synctest' $(SEQUENTIAL) || \
		{ echo "make unit: this starts a goroutine, so its folder is not SEQUENTIAL" >&2; false; }
	$(GO) test $(SEQUENTIAL:%=./%)
	CGO_ENABLED=1 $(GO) test -race $$($(GO) list ./... | grep -v $(SEQUENTIAL:%=-e '/%$$'))

SCRIPTS := .ci/run lab/image/build vici/testdata/charons.sh deploy/hook/keepalive-hook deploy/debian/tests/service \
           $(wildcard $(addprefix deploy/debian/*.,preinst postinst prerm postrm))

# SC2016 and SC2125: what stands in quotes is for another shell to expand. bash's own way to complete is SC2207 and, for
# the word do, SC1010. An exposure of 15 is 1.5 in the table that is printed when a unit has more.
lint: tools
	shellcheck -e SC2016,SC2125 $(SCRIPTS)
	shellcheck -s bash -e SC2207,SC1010 deploy/completion/xl2tpd-keepalive.bash
	@for unit in deploy/*.service; do \
		table=$$(systemd-analyze security --offline=yes --threshold=15 --no-pager $$unit) || { echo "$$table"; exit 1; }; \
	done

# What QEMU's user mode can't do, by these tests:
# - TestReadSockets, TestFactReader: it knows no NETLINK_SOCK_DIAG.
# - TestKernel, TestRunWithoutBus (internal/ppp): of rtnetlink it does not pass on RTM_GETSTATS.
# - TestMTUFragmentationNeeded (probe): getsockopt(2) has no IP_MTU.
# - TestRepliesAreReadTogether (probe): packets have no timestamp (SO_TIMESTAMPNS_NEW).
# - TestRealProcess: /proc/PID/cmdline of a process that it runs begins with its own name.
NOT_EMULATED := ^(TestReadSockets|TestFactReader|TestKernel|TestRunWithoutBus|TestMTUFragmentationNeeded|TestRepliesAreReadTogether|TestRealProcess)$$

# Some tests execute themselves, so the kernel must know QEMU, too. What packages are built from is tested; the lab is for
# the machine's own architecture. With -short the models play a fifth of their histories.
test-architectures: architectures-tools
	update-binfmts --enable
	packages=$$($(GO) list ./... | grep -vE '/(deploy|lab)(/|$$)') && export CGO_ENABLED=0 && \
	GOARCH=386 GO386=softfloat $(GO) test $$packages && \
	for arch in arm64 arm; do \
		GOARCH=$$arch GOARM=7 $(GO) test -short -timeout 60m -skip '$(NOT_EMULATED)' $$packages || exit; \
	done

BENCHTIME ?= 300ms
# Files lie in memory, as /run and /proc do.
bench: export TMPDIR = $(wildcard /dev/shm)
bench: export GOTMPDIR = /tmp
bench:
	@$(RECORD) bench BENCHTIME=$(BENCHTIME) -- $(AGAIN) bench-all | awk ' \
		BEGIN { printf "%-45s %12s %10s %10s %8s\n", "", "ns", "ns/tunnel", "bytes", "allocs" } \
		/^pkg:/ { package = $$2; sub("[^/]*/", "", package) } \
		/^Benchmark/ { sub("Benchmark", ""); sub("-[0-9]+$$", "", $$1); delete v; for (i = 3; i < NF; i += 2) v[$$(i+1)] = $$i; \
			printf "%-45s %12s %10s %10s %8s\n", package " " $$1, v["ns/op"], v["ns/tunnel"], v["B/op"], v["allocs/op"] } \
		sub(".*scale_test.go:[0-9]+: ", "") { print } \
		/FAIL/ { print; failed = 1 } END { exit failed }'

bench-all:
	@$(GO) test -p 1 -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./internal/... ./supervisor/... ./probe ./vici
	@for n in 1000 4000; do $(GO) test ./supervisor -run TestFleet -v -args -tunnels $$n -minutes 10 || exit; done

FUZZTIME ?= 10m
# What it finds is kept, if it is short.
fuzz:
	$(RECORD) fuzz FUZZTIME=$(FUZZTIME) -- $(AGAIN) fuzz-all

fuzz-all:
	for f in l2tp/Packet helloguard/translator/Translator helloguard/translator/Restore; do \
		dir=internal/$$(dirname $$f) name=$$(basename $$f); \
		$(GO) test ./$$dir -v -run XXX -fuzz "^Fuzz$$name$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 2s -parallel 1 || exit; \
		corpus=$$dir/testdata/$$(echo $$name | tr A-Z a-z).corpus; \
		{ cat $$corpus; sed -n 's/^\[\]byte(\(.*\))$$/\1/p' $$($(GO) env GOCACHE)/fuzz/xl2tpd-keepalive/$$dir/Fuzz$$name/*; } | \
			awk 'length <= 1200' | LC_ALL=C sort -u > $$corpus.new && mv $$corpus.new $$corpus || exit; \
	done

CHECKS    ?= 1000000
HISTORIES ?= 100
model:
	$(RECORD) model CHECKS=$(CHECKS) HISTORIES=$(HISTORIES) -- $(AGAIN) model-all

model-all:
	$(GO) test -v -timeout 24h -run 'TestHistories|TestRates' ./internal/helloguard/translator -args -rapid.checks=$(CHECKS) -histories $(HISTORIES)

unpack = (apt-get download -q $(1) || { apt-get update -q && apt-get download -q $(1); }) && dpkg-deb -x $(1)_*.deb .

# Debian's Prometheus, unpacked and not installed: it would start as a service.
$(PROMETHEUS)/usr/bin/prometheus: | tools
	mkdir -p $(PROMETHEUS)
	cd $(PROMETHEUS) && $(call unpack,prometheus)

# The same of Debian's smokeping_prober.
$(SMOKEPING)/usr/bin/prometheus-smokeping-prober: | tools
	mkdir -p $(SMOKEPING)
	cd $(SMOKEPING) && $(call unpack,prometheus-smokeping-prober)

monitoring: $(PROMETHEUS)/usr/bin/prometheus
	$(PROMETHEUS)/usr/bin/promtool check rules deploy/prometheus/xl2tpd-keepalive.rules.yml
	$(PROMETHEUS)/usr/bin/promtool test rules deploy/prometheus/xl2tpd-keepalive.rules.test.yml
	PROMETHEUS=$(abspath $<) $(GO) test -tags monitoring -run Dashboard ./internal/metrics

CAPTURES := trace trace-kernel report
captures: $(IMAGE)/root.ext4 disk captures-tools
	rm -f $(CACHE)/out/*.pcapng
	$(LAB) run $(CAPTURES:%=%.txtar)
	CAPTURES=$(abspath $(CACHE))/out $(GO) test -count 1 -v -tags captures -run Tshark ./internal/controltrace/pcapng

PERSONALITIES ?= $(basename $(notdir $(wildcard lab/lns/personalities/*.json))) debian
copies: $(IMAGE)/root.ext4 disk
	$(LAB) copies $(PERSONALITIES)

mtu: $(IMAGE)/root.ext4 disk
	$(LAB) mtu $(LINES)

# Pictures are recorded as figures are.
keep = test $(RESULTS) != docs/results || cp $(addprefix $(CACHE)/out/,$(1)) lab

attempts:
	$(RECORD) attempts -- $(AGAIN) attempts-all

attempts-all:
	$(GO) test -v -count 1 -run AttemptsInAnHour ./supervisor

results:
	$(GO) run ./lab results

demo: $(IMAGE)/root.ext4 disk
	$(LAB) demo
	$(call keep,demo.svg)

pictures: $(IMAGE)/root.ext4 disk
	$(LAB) pictures
	$(call keep,status.svg watch.svg doctor.svg)

soak: $(IMAGE)/root.ext4 disk
	$(LAB) soak $(HOURS)h

bad-lines: HOURS = 2
bad-lines: $(IMAGE)/root.ext4 disk
	$(LAB) bad-lines $(HOURS)h

matrix: $(IMAGE)/root.ext4 disk
	$(LAB) matrix

chaos: $(IMAGE)/root.ext4 disk
	$(LAB) chaos $(SEED) $(SEEDS)

scale: GUARD = auto
scale: $(IMAGE)/root.ext4 disk
	$(LAB) scale

links: disk links-tools $(SMOKEPING)/usr/bin/prometheus-smokeping-prober
	PATH="$(abspath $(SMOKEPING))/usr/bin:$$PATH" $(LAB) links $(LINKS)

# A day of one scenario is for who asks for it.
lab instances: HOURS = 0.3
instances: $(IMAGE)/root.ext4 disk
	$(LAB) run instances.txtar

throughput: $(IMAGE)/root.ext4 disk
	$(LAB) throughput

lab: $(IMAGE)/root.ext4 disk
	$(LAB) run $(RUN).txtar

lab-bullseye: IMAGE = $(CACHE)/bullseye
lab-bullseye: $(CACHE)/bullseye/root.ext4 disk
	$(LAB) run dead-redial.txtar gave-up.txtar

# On the second disk are this version's package and a later one, and nothing that is installed already.
lab-debian: $(DEBIANS:%=$(CACHE)/%/root.ext4) disk
	rm -rf $(DEB_DISK) && cp -r $(DISK) $(DEB_DISK) && rm -r $(DEB_DISK)/install/* && mkdir $(DEB_DISK)/deb
	$(MAKE) deb DEB_VERSION=$(DEB_VERSION)+later
	mv $(DEB)/xl2tpd-keepalive_$(DEB_VERSION)+later_$(ARCH).deb $(DEB_DISK)/deb/later.deb
	$(MAKE) deb
	cp $(DEB)/xl2tpd-keepalive_$(DEB_VERSION)_$(ARCH).deb $(DEB_DISK)/deb/this.deb
	cp -r deploy/debian/tests $(DEB_DISK)/deb
	for suite in $(DEBIANS); do $(GO) run ./lab -image $(CACHE)/$$suite -disk $(DEB_DISK) -out $(CACHE)/out -results $(RESULTS) -clock $(CLOCK) run first-minutes.txtar package.txtar || exit; done

$(CACHE)/%/root.ext4: lab/image/build lab/image/lab.service | tools
	lab/image/build $(CACHE)/$* $*

# The VM's second disk: what make install installs, the lab's own programs, scenarios and tests.
disk: export CGO_ENABLED = 0
disk:
	rm -rf $(DISK)
	mkdir -p $(DISK)/bin $(DISK)/tests
	$(MAKE) --no-print-directory install DESTDIR=$(DISK)/install
	$(GO) run ./lab commit > $(DISK)/commit
	$(GO) build -o $(DISK)/agent ./lab/agent
	$(GO) build -o $(DISK)/bin/lns ./lab/lns
	$(GO) build -o $(DISK)/bin/personality ./lab/personality
	cp -r lab/scenarios lab/firewalls internal/doctor/testdata/hosts $(DISK)
	$(foreach d,$(LAB_TESTS),$(GO) test -c -tags lab -o $(DISK)/tests/$(notdir $(d:/=)).test ./$(d) && \
		grep -ho '^func Test[A-Za-z0-9_]*' $(d)*_lab_test.go | cut -c 6- > $(DISK)/tests/$(notdir $(d:/=)).names &&) true

tools: NEEDED = $(TOOLS)
deb-tools: NEEDED = debhelper
release-tools: NEEDED = debhelper git lintian
links-tools: NEEDED = iputils-ping fping
captures-tools: NEEDED = tshark
architectures-tools: NEEDED = qemu-user-static binfmt-support
tools deb-tools release-tools links-tools captures-tools architectures-tools:
	@missing=$$(for p in $(NEEDED); do dpkg-query -W -f='$${db:Status-Status}\n' $$p 2>/dev/null | grep -qx installed || echo $$p; done); \
	if [ -n "$$missing" ]; then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing; fi

clean:
	rm -rf .cache xl2tpd-keepalive
