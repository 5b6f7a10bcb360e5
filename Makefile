# fairlead: builds the BPF objects, their skeletons, the program and the tests, all below build/.
# `make help` lists the targets. V=1 shows commands. Set CLANG, CC, BPFTOOL to use others; CPPFLAGS, CFLAGS and
# LDFLAGS are added to ours for the program that is installed.

PREFIX ?= /usr/local
DESTDIR ?=
ifeq ($(origin CC),default)
CC := cc
endif
CLANG ?= clang
LLVM_STRIP ?= $(shell command -v llvm-strip || ls /usr/bin/llvm-strip-* 2>/dev/null | tail -n 1)
# Ubuntu's bpftool is a script that may find none for the running kernel: then any that works.
BPFTOOL ?= $(shell PATH="$$PATH:/usr/sbin:/sbin"; for tool in bpftool /usr/lib/linux-tools*/*/bpftool \
	/usr/lib/linux-tools-*/bpftool; do $$tool version >/dev/null 2>&1 && command -v $$tool && break; done)
PYTHON ?= /usr/bin/python3
VERSION := 0.1.0

.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules --no-print-directory
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc)
endif
Q := $(if $(V),,@)
say = @printf '  %-8s %s\n' $(1) $(2)

packages := libbpf libcjson yaml-0.1 libuv libmnl libcurl libmicrohttpd
pkg_cflags := $(shell pkg-config --cflags $(packages) 2>/dev/null)
pkg_libs := $(shell pkg-config --libs $(packages) 2>/dev/null)

warnings := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2
# Not every compiler has each flag: those that it has are used. (One without the third level of fortification warns.)
accepted = $(foreach flag,$(1),$(shell $(CC) -O2 -Werror -U_FORTIFY_SOURCE $(flag) -include stdio.h -x c -c /dev/null \
	-o /dev/null 2>/dev/null && echo '$(flag)'))
# The operator's choice of fortification stands; without optimization there is none.
fortify = $(if $(findstring _FORTIFY_SOURCE,$(CPPFLAGS) $(CFLAGS)),,-U_FORTIFY_SOURCE $(if $(findstring -O0,$(CFLAGS)),, \
	$(or $(call accepted,-D_FORTIFY_SOURCE=3),-D_FORTIFY_SOURCE=2)))
# Found out once, at the first use: most targets compile nothing.
hardening = $(eval hardening := -O2 -g -fPIE -fstack-protector-strong \
	$(call accepted,-fstack-clash-protection -fcf-protection -mbranch-protection=standard) $(fortify))$(hardening)
sanitizers := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
# The same binary wherever it is built: no path of the builder's in it, in its debug information, or in BTF.
# Compilers take the name of the folder from PWD, which may be a symbolic link to it.
export PWD := $(CURDIR)
relative_paths := -ffile-prefix-map=$(CURDIR)=.
cflags := -std=gnu11 -D_GNU_SOURCE -DFAIRLEAD_VERSION='"$(VERSION)"' $(warnings) \
	-Iinclude -Iuser -Ibuild $(pkg_cflags) $(relative_paths)
# -mcpu=v3: 32-bit ALU and jumps, known to every kernel from 5.1. The multiarch folder has asm/types.h. Not every
# object uses every function of the headers that it shares.
bpf_cflags := -target bpf -mcpu=v3 -O2 -g -std=gnu11 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-unused-function \
	-fno-strict-aliasing $(relative_paths) -Iinclude -Ibpf -I/usr/include/$(shell $(CC) -print-multiarch 2>/dev/null)

bpf_sources := $(wildcard bpf/*.bpf.c)
bpf_objects := $(bpf_sources:bpf/%.bpf.c=build/bpf/%.bpf.o)
skeletons := $(bpf_sources:bpf/%.bpf.c=build/skeleton/%.skel.h)
user_sources := $(wildcard user/*/*.c user/*/*/*.c)
objects := $(user_sources:user/%.c=build/user/%.o)
san_objects := $(user_sources:user/%.c=build/sanitized/user/%.o)
unit_tests := $(patsubst tests/%.c,build/tests/%,$(wildcard tests/unit/*_test.c))
bpf_tests := $(patsubst tests/%.c,build/tests/%,$(wildcard tests/bpf/*_test.c))
outside_programs := $(addprefix build/bench/,packet_source flow_copies requests)
c_files := $(wildcard bpf/*.c bpf/*.h bpf/*/*.h include/*/*.h user/*.c user/*/*.[ch] user/*/*/*.[ch] tests/*/*.[ch])
# The BPF objects of every clang that is here, user space and tests with the newest of them: each must build
# without a warning, and stands in a folder of its own.
other_clangs := $(shell CLANG='$(CLANG)' scripts/other-clangs)
other_bpf_objects := $(foreach clang,$(other_clangs),$(bpf_sources:bpf/%.bpf.c=build/$(clang)/bpf/%.bpf.o))
newest_clang := $(lastword $(other_clangs))
clang_sources := $(if $(newest_clang),user/fairlead.c $(user_sources) $(filter-out %.bpf.c,$(wildcard tests/*/*.c)))
clang_objects := $(clang_sources:%.c=build/$(newest_clang)/%.o)

.PHONY: all check check-unit check-bpf check-fuzz check-e2e fuzz check-compilers check-kernels check-random \
	check-cluster demo format lint verify-stats bench bench-scale bench-outside install clean help tests
all: build/fairlead build/fairlead-sanitized ## build the program (and its sanitized twin for tests)
tests: $(unit_tests) $(bpf_tests) build/tests/fuzz/packet_fuzz build/fairlead-sanitized build/bench/json_bench \
	$(outside_programs)

build/bpf/%.bpf.o: bpf/%.bpf.c Makefile
	$(call say,BPF,$<)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(bpf_cflags) -MMD -MP -MF build/bpf/$*.d -MT $@ -c $< -o $@.full
	$(Q)$(LLVM_STRIP) -g -o $@ $@.full

build/skeleton/%.skel.h: build/bpf/%.bpf.o
	$(call say,SKEL,$@)
	@mkdir -p $(@D)
	$(Q)$(BPFTOOL) gen skeleton $< name $*_bpf > $@

define other_clang_rules
.PHONY: $(1)-objects
$(1)-objects: $(filter build/$(1)/%,$(other_bpf_objects) $(clang_objects))
build/$(1)/bpf/%.bpf.o: bpf/%.bpf.c Makefile
	$$(call say,$(1),$$<)
	@mkdir -p $$(@D)
	$$(Q)$(1) $$(bpf_cflags) -MMD -MP -c $$< -o $$@
build/$(1)/%.o: %.c Makefile | $$(skeletons) build/skeleton/packet_source.skel.h
	$$(call say,$(1),$$<)
	@mkdir -p $$(@D)
	$$(Q)$(1) $$(cflags) -O2 -Itests -MMD -MP -c $$< -o $$@
endef
$(foreach clang,$(other_clangs),$(eval $(call other_clang_rules,$(clang))))

build/user/%.o: user/%.c Makefile | $(skeletons)
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(cflags) $(CPPFLAGS) $(hardening) $(CFLAGS) -MMD -MP -c $< -o $@

build/sanitized/user/%.o: user/%.c Makefile | $(skeletons)
	$(call say,CC-SAN,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(cflags) $(sanitizers) -MMD -MP -c $< -o $@

build/fairlead: build/user/fairlead.o $(objects)
	$(call say,LINK,$@)
	$(Q)$(CC) -pie -Wl,-z,relro,-z,now $(CFLAGS) $(LDFLAGS) $^ $(pkg_libs) -o $@

build/fairlead-sanitized: build/sanitized/user/fairlead.o $(san_objects)
	$(call say,LINK,$@)
	$(Q)$(CC) $(sanitizers) $^ $(pkg_libs) -o $@

build/tests/%.o: tests/%.c Makefile | $(skeletons)
	$(call say,CC-TEST,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(cflags) $(sanitizers) -Itests -MMD -MP -c $< -o $@

# A unit test is one file; tests/bpf shares its harness (tests/bpf/*.c that are not *_test.c).
bpf_harness := $(patsubst tests/%.c,build/tests/%.o,$(filter-out %_test.c,$(wildcard tests/bpf/*.c)))
build/tests/unit/%_test: build/tests/unit/%_test.o $(san_objects)
	$(call say,LINK,$@)
	$(Q)$(CC) $(sanitizers) $^ $(pkg_libs) -lcmocka -o $@
build/tests/bpf/%_test: build/tests/bpf/%_test.o $(bpf_harness) $(san_objects)
	$(call say,LINK,$@)
	$(Q)$(CC) $(sanitizers) $^ $(pkg_libs) -lcmocka -o $@

# Without sanitizers, for what it measures is time.
build/bench/datapath_bench: tests/bench/datapath_bench.c tests/bpf/packets.c tests/bpf/datapath.c \
		tests/bpf/outside.c user/base/address.c user/base/file.c user/base/map.c user/base/text.c | $(skeletons)
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(cflags) -O2 -Itests $^ $(pkg_libs) -lcmocka -o $@

# Without sanitizers, for what counts is packets a second.
fuzz_sources := $(wildcard tests/fuzz/*.c) $(addprefix tests/bpf/,packets.c datapath.c encapsulated.c) \
	$(addprefix user/base/,address.c file.c map.c text.c)
build/tests/fuzz/packet_fuzz: $(fuzz_sources:%.c=build/fuzz/%.o)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $^ $(pkg_libs) -lcmocka -o $@
build/fuzz/%.o: %.c Makefile | $(skeletons)
	$(call say,CC-FUZZ,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(cflags) -O2 -g -Itests -MMD -MP -c $< -o $@

# Readers of what comes from outside, with clang's fuzzer and sanitizers. An archive: only what they need is linked.
input_sources := $(wildcard $(patsubst %,user/%/*.c,base decode model plan config http health kube/config kube/client \
	kube/watch kube/post source link/netlink link/sockets node))
build/tests/inputs_fuzz: $(patsubst %.c,build/inputs/%.o,$(wildcard tests/inputs/*.c)) build/inputs/readers.a
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) -fsanitize=fuzzer,address,undefined $^ $(pkg_libs) -o $@
build/inputs/readers.a: $(input_sources:%.c=build/inputs/%.o)
	$(Q)rm -f $@ && ar rcs $@ $^
build/inputs/%.o: %.c Makefile | $(skeletons)
	$(call say,CC-INPUT,$<)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(cflags) -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all \
		-MMD -MP -c $< -o $@

build/bench/json_bench: tests/bench/json_bench.c user/decode/json_arena.c user/decode/json_stream.c \
		user/base/file.c user/base/text.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(cflags) -O2 $^ $(pkg_libs) -o $@

# Programs that make packets to measure with; they are no part of the datapath.
build/bpf/packet_source.bpf.o: tests/bench/packet_source.bpf.c tests/bench/packet_source.h Makefile
	$(call say,BPF,$<)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(bpf_cflags) -c $< -o $@.full
	$(Q)$(LLVM_STRIP) -g -o $@ $@.full
build/bench/packet_source: tests/bench/packet_source.c build/skeleton/packet_source.skel.h
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(cflags) -O2 -Itests $< $(pkg_libs) -o $@
build/bench/flow_copies: tests/bench/flow_copies.c user/base/address.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(cflags) -O2 -Itests $^ $(pkg_libs) -o $@
build/bench/requests: tests/bench/requests.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(cflags) -O2 $^ -o $@

-include $(wildcard build/*/*.d build/*/*/*.d build/*/*/*/*.d build/*/*/*/*/*.d)

check: ## install what tests need, build, run all tests: "N passed, N failed"
	$(Q)scripts/setup
	$(Q)$(MAKE) all tests build/tests/inputs_fuzz
	$(Q)scripts/check unit bpf fuzz lint kernel e2e
check-unit check-bpf check-fuzz check-e2e: check-%: all tests ## one kind of tests
	$(Q)scripts/check $*
check-fuzz: build/tests/inputs_fuzz
fuzz: build/tests/inputs_fuzz build/tests/fuzz/packet_fuzz ## all that is read from outside, and packets: SECONDS=60 each
	$(Q)FAIRLEAD_FUZZ_SECONDS=$(or $(SECONDS),60) scripts/check fuzz
check-compilers: $(skeletons) ## every other clang that is installed builds the BPF objects, the newest the rest too
	$(Q)scripts/lint compilers
check-kernels: all ## boot Debian's kernels from 5.10 on, amd64 and arm64, and run checks there; writes docs/kernels.md
	$(Q)scripts/check-kernels $(CHECK_KERNELS)
check-random: all ## random changes, faults and restarts for ten minutes: FAIRLEAD_RANDOM_SECONDS, FAIRLEAD_SEED
	$(Q)scripts/check random
check-cluster: all ## the agent with a real API server: FAIRLEAD_TEST_KUBECONFIG
	$(Q)scripts/check cluster
demo: ## install what the demo needs, build, and show the main job in a lab of namespaces
	$(Q)[ ! -x /usr/bin/python3 ] || scripts/demo --check
	$(Q)scripts/setup demo
	$(Q)scripts/demo --check
	$(Q)$(MAKE) build/fairlead
	$(Q)scripts/demo
verify-stats: all ## instructions, verifier complexity and stack of each program; fails above the budget
	$(Q)scripts/verify-stats
bench: all build/bench/datapath_bench ## figures: publishing, memory, nanoseconds a packet
	$(Q)scripts/bench
	$(Q)build/bench/datapath_bench
bench-scale: all build/bench/json_bench ## figures at 5,000x50, 44,000x1, 10,000x10; beside nft and iptables
	$(Q)scripts/bench-scale $(BENCH_SCALE)
bench-outside: all $(outside_programs) ## figures of clients from outside: packets and requests; beside routing and nft
	$(Q)scripts/bench-outside $(BENCH_OUTSIDE)
format: ## clang-format in place
	$(Q)clang-format -i $(c_files)
lint: $(skeletons) ## clang-format, clang-tidy, sparse, header-alone compile, other compilers, shellcheck
	$(Q)scripts/lint
install: build/fairlead ## install program, man page and bash completion below DESTDIR and PREFIX
	install -D -m 0755 build/fairlead $(DESTDIR)$(PREFIX)/sbin/fairlead
	install -D -m 0644 docs/fairlead.8 $(DESTDIR)$(PREFIX)/share/man/man8/fairlead.8
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	build/fairlead completion > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/fairlead
clean: ## remove build/
	rm -rf build
help: ## this list
	@sed -n 's/^\([a-z][a-z0-9 -]*\):[^#]*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{printf "  %-36s %s\n", $$1, $$2}'
