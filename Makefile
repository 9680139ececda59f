# make            build the binary
# make install    install it, its unit and its configuration (DESTDIR for packagers)
# make test       every test, the lab's included
# make demo       the same tunnels without and with xl2tpd-keepalive, as a timeline
# make soak       many kinds of peers, HOURS=24 of guest time with GUARD=on, and minutes without the guard
# make throughput what the guard costs a tunnel's data: nothing; in real time, on a quiet machine
# make lab RUN=x  one scenario, with its whole log (CLOCK=real for real time)

GO      ?= go
CLOCK   ?= skip
HOURS   ?= 24
GUARD   ?= on
MODE    ?= kernel
KILLS   ?= 85
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
CACHE   := .cache/lab
IMAGE   := $(CACHE)/bookworm
DISK    := $(CACHE)/disk
LAB     := $(GO) run ./lab -image $(IMAGE) -disk $(DISK) -out $(CACHE)/out -clock $(CLOCK) \
           -set GUARD=$(GUARD) -set MODE=$(MODE) -set DURATION=$(HOURS)h -set KILLS=$(KILLS)
# Packages with tests that need a real daemon or kernel facility: *_lab_test.go.
LAB_TESTS := $(sort $(dir $(wildcard */*_lab_test.go */*/*_lab_test.go)))
TOOLS   := qemu-system-x86 mmdebstrap e2fsprogs gcc libc6-dev iproute2 git

.PHONY: build install test unit demo soak throughput lab disk tools clean

build: xl2tpd-keepalive

xl2tpd-keepalive: go.mod go.sum $(shell find cmd config hello ppp probe supervisor vici xl2tpd -name '*.go' ! -name '*_test.go')
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o xl2tpd-keepalive ./cmd/xl2tpd-keepalive

install: build
	install -D -m 755 xl2tpd-keepalive $(DESTDIR)/usr/sbin/xl2tpd-keepalive
	install -D -m 644 deploy/xl2tpd-keepalive.service $(DESTDIR)/usr/lib/systemd/system/xl2tpd-keepalive.service
	test -e $(DESTDIR)/etc/xl2tpd/keepalive.conf || install -D -m 644 deploy/keepalive.conf $(DESTDIR)/etc/xl2tpd/keepalive.conf

test: unit $(IMAGE)/root.ext4 disk
	$(LAB) test

unit: tools
	$(GO) vet ./... && $(GO) vet -tags lab ./...
	CGO_ENABLED=1 $(GO) test -race ./...

demo: $(IMAGE)/root.ext4 disk
	$(LAB) demo

soak: $(IMAGE)/root.ext4 disk
	$(LAB) soak $(HOURS)h

throughput: $(IMAGE)/root.ext4 disk
	$(LAB) throughput

lab: $(IMAGE)/root.ext4 disk
	$(LAB) run $(RUN).txtar

$(IMAGE)/root.ext4: lab/image/build lab/image/lab.service | tools
	lab/image/build $(IMAGE)

# The VM's second disk: what make install installs, the lab's own programs, scenarios and tests.
disk: export CGO_ENABLED = 0
disk:
	rm -rf $(DISK)
	mkdir -p $(DISK)/bin $(DISK)/tests
	$(MAKE) --no-print-directory install DESTDIR=$(DISK)/install
	$(GO) build -o $(DISK)/agent ./lab/agent
	$(GO) build -o $(DISK)/bin/lns ./lab/lns
	cp -r lab/scenarios $(DISK)/scenarios
	$(foreach d,$(LAB_TESTS),$(GO) test -c -tags lab -o $(DISK)/tests/$(notdir $(d:/=)).test ./$(d) &&) true

tools:
	@missing=$$(for p in $(TOOLS); do dpkg-query -W -f='$${db:Status-Status}\n' $$p 2>/dev/null | grep -qx installed || echo $$p; done); \
	if [ -n "$$missing" ]; then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing; fi

clean:
	rm -rf .cache xl2tpd-keepalive
