# make            build/libretryshim.so and build/retryshim; needs a C compiler, libcurl's headers and libjansson's
# make demo       curl, wget and python recovering from a server's faults, before and after
# make check      every test
# make bench      what it costs and what it is good for, beside others; BENCH=recovery and the like for a part
# make fuzz       what any bytes do to our readers, for FUZZ_SECONDS (120) in all; FUZZ=NAME for one: libFuzzer, with clang
# make soak       every fault in programs that live long, for SOAK_SECONDS (600): nothing grows, nothing comes twice
# make sim        what many processes do to a server together: a simulation over the shipped policy
# make model      the non-blocking states in every order, bounded; MODEL=deep: larger bounds
# make install    PREFIX=/usr/local DESTDIR=
# make deb        build/retryshim_VERSION_ARCH.deb

B ?= build
CC ?= cc
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
PYTHON ?= /usr/bin/python3
CFLAGS ?= -O2 -g
WERROR ?= -Werror

# -Wno-psabi: on i386 gcc would tell of what its versions before 11 did.
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wno-psabi $(WERROR)
# V=1 shows whole commands.
ifneq ($(V),1)
say = @echo '  $(1)	$@';
endif
LIBC := -include shim/libc.h
COMPILE = $(CC) -std=gnu11 -D_GNU_SOURCE $(WARNINGS) $(CPPFLAGS) -Iinclude -Ishim $(CFLAGS) -MMD -MP

# -nostartfiles: the start files' four weak symbols would be looked up in every process that loads us.
# Lazy binding: each symbol bound at start costs about 700 instructions, and a healthy program calls
# few of ours; hence RELRO without -z now.
SO_FLAGS := -fPIC -fvisibility=hidden -ftls-model=initial-exec
SO_LDFLAGS := -shared -nostartfiles -Wl,-soname,libretryshim.so -Wl,--version-script=shim/libretryshim.map \
	-Wl,-z,relro -Wl,-z,lazy -Wl,-z,defs -Wl,-z,noexecstack -Wl,-z,text -Wl,--as-needed -Wl,--hash-style=gnu

objects = $(patsubst %.c,$(B)/obj/%.o,$(wildcard $(1)))
POLICY := $(call objects,shim/policy/*.c)
SO_OBJECTS := $(POLICY) $(call objects,shim/runtime/*.c shim/report/*.c shim/hooks/*.c)
CLI_OBJECTS := $(call objects,shim/cli/*.c)

# In the command itself: it is copied into images and onto machines that have no libjansson. JANSSON= does without it, and
# without the sub-commands that read diagnostics back.
JANSSON ?= -Wl,-Bstatic -ljansson -Wl,-Bdynamic
ifeq ($(JANSSON),)
CLI_OBJECTS := $(filter-out $(call objects,shim/cli/events.c shim/cli/report*.c shim/cli/tail*.c),$(CLI_OBJECTS))
$(CLI_OBJECTS): override CPPFLAGS += -DWITHOUT_JANSSON
endif

.DEFAULT_GOAL := all # whatever rule stands first
all: $(B)/libretryshim.so $(B)/retryshim
$(CLI_OBJECTS): | $(B)/cli-headers
.PHONY: all demo check check-unit check-elf check-programs check-clients check-hazards check-tools check-sanitizers check-memcheck check-soak check-soak-short check-soak-healthy soak lint bench sim model model-mutants fuzz check-fuzz install uninstall deb clean deps

# ---- the two products ---------------------------------------------------------------------------

$(B)/libretryshim.so: $(SO_OBJECTS) shim/libretryshim.map
	$(call say,LINK)$(CC) $(CFLAGS) $(LDFLAGS) $(SO_LDFLAGS) -o $@ $(SO_OBJECTS) $(LIBDL)

# The engine serves `run --rerun` too.
$(B)/retryshim: $(CLI_OBJECTS) $(POLICY) $(call objects,shim/runtime/*.c shim/report/*.c shim/hooks/engine*.c)
	$(call say,LINK)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(JANSSON)

# Its assembler reads the page; the compiler, which lists the headers, does not see that.
$(B)/obj/shim/cli/report_page.o: $(wildcard shim/cli/page/*)

$(B)/obj/shim/%.o: shim/%.c Makefile | $(B)/headers
	@mkdir -p $(@D)
	$(call say,CC)$(COMPILE) $(LIBC) $(SO_FLAGS) -DLIBRETRYSHIM_DIR='"$(LIBDIR)"' -c -o $@ $<

# Says what is missing before the compiler says it in its own way.
$(B)/headers:
	@mkdir -p $(B)
	@command -v $(firstword $(CC)) >/dev/null || { echo "make: no C compiler ($(CC)); on Debian: apt-get install gcc libc6-dev" >&2; exit 1; }
	@printf '#include <stdio.h>\n' | $(CC) -E -x c - >/dev/null 2>&1 || { echo "make: no C headers; on Debian: apt-get install libc6-dev" >&2; exit 1; }
	@printf '#include <curl/curl.h>\n' | $(CC) $(CPPFLAGS) -E -x c - >/dev/null 2>&1 || { echo "make: no curl/curl.h; on Debian: apt-get install libcurl4-openssl-dev" >&2; exit 1; }
	@touch $@

$(B)/cli-headers: $(B)/headers
	@printf '#include <argp.h>\n' | $(CC) $(CPPFLAGS) -E -x c - >/dev/null 2>&1 || { echo "make: this C library has no argp.h, so there is no command with it: make $(B)/libretryshim.so" >&2; exit 1; }
	@[ -z '$(JANSSON)' ] || printf '#include <jansson.h>\n' | $(CC) $(CPPFLAGS) -E -x c - >/dev/null 2>&1 || { echo "make: no jansson.h; on Debian: apt-get install libjansson-dev" >&2; exit 1; }
	@touch $@

# ---- tests --------------------------------------------------------------------------------------

deps:
	@scripts/deps

FAULTSERVER := $(B)/tests/faultserver
UNIT_OBJECTS := $(POLICY) $(call objects,shim/report/line.c shim/report/emf.c shim/report/statsd.c shim/report/exposition.c shim/runtime/clock.c shim/runtime/cancel.c shim/runtime/symbols.c shim/runtime/state_places.c shim/runtime/state_series.c)
UNIT := $(patsubst tests/unit/%.c,$(B)/tests/%,$(wildcard tests/unit/test_*.c))

$(FAULTSERVER): $(wildcard tests/faults/*.[ch]) Makefile
	@mkdir -p $(@D)
	$(call say,CC)$(CC) -std=gnu11 -D_GNU_SOURCE $(WARNINGS) $(CFLAGS) -pthread -o $@ $(wildcard tests/faults/*.c)

$(B)/tests/test_%: tests/unit/test_%.c $(wildcard tests/unit/*.h) $(UNIT_OBJECTS)
	@mkdir -p $(@D)
	$(call say,CC)$(COMPILE) -o $@ $< $(UNIT_OBJECTS) -lcmocka

check: deps
	@$(MAKE) --no-print-directory -j2 all $(FAULTSERVER) $(UNIT) $(B)/tests/model
	@$(MAKE) --no-print-directory check-unit check-elf sim model model-mutants check-programs check-soak check-sanitizers check-fuzz lint

check-unit: $(UNIT)
	@set -e; for test in $(UNIT); do $$test; done

check-elf: $(B)/libretryshim.so
	tests/elf.sh $(B)/libretryshim.so

# Two at a time: they mostly wait. Each prints when it has ended.
check-programs: all $(FAULTSERVER)
	@$(MAKE) --no-print-directory -j2 -Otarget check-clients check-hazards check-tools

PYTEST = RETRYSHIM_BUILD=$(abspath $(B)) CC='$(CC)' $(PYTHON) -m pytest -q -p no:cacheprovider

# The command, and what operators use.
TOOL_TESTS := $(foreach subject,cli report tail metrics packaging recipes,$(wildcard tests/programs/test_$(subject)*.py))

check-clients:
	$(PYTEST) $(filter-out $(TOOL_TESTS),$(wildcard tests/programs/test_*.py))

check-tools:
	$(PYTEST) $(TOOL_TESTS)

check-hazards:
	$(PYTEST) tests/faults tests/hazards

# The policy under the sanitizers and memcheck; the object itself runs under ASan, UBSan, TSan and valgrind in tests/hazards.
check-sanitizers: check-memcheck
	@$(MAKE) --no-print-directory -j2 B=$(B)/sanitized CFLAGS='-O1 -g -fsanitize=address,undefined -fno-sanitize-recover' check-unit

# Not test_interleavings: it visits millions of states, which takes minutes there; it is under the sanitizers above.
check-memcheck: $(UNIT)
	@printf '%s\n' $(filter-out %/test_interleavings,$(UNIT)) | xargs -P2 -n1 valgrind --quiet --error-exitcode=9 --leak-check=full >$(B)/memcheck 2>&1 || \
		{ cat $(B)/memcheck >&2; exit 1; }
	@echo "memcheck: clean"

SHIM_C := $(wildcard shim/*/*.c)
ANALYSE := -std=gnu11 -D_GNU_SOURCE $(LIBC) -Iinclude -Ishim -DLIBRETRYSHIM_DIR='"/usr/local/lib"'

# clang-tidy takes one file a run: several share state and report what is not there.
lint:
	@clang $(ANALYSE) $(WARNINGS) -fsyntax-only $(SHIM_C) && echo "clang: clean"
	@printf '%s\n' $(SHIM_C) | xargs -P2 -I FILE clang-tidy --quiet FILE -- $(ANALYSE) 2>/dev/null && echo "clang-tidy: clean"
	@cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance -D_GNU_SOURCE -Iinclude -Ishim shim && echo "cppcheck: clean"
	@printf '%s\n' $(SHIM_C) | xargs -P2 -I FILE gcc $(ANALYSE) -O2 -Wall -Wextra -Werror -fanalyzer -c -o /dev/null FILE && echo "gcc -fanalyzer: clean"

# BENCH="healthy memory throughput recovery" picks parts of it.
bench: all $(FAULTSERVER)
	@scripts/deps bench
	tests/bench/run $(B) $(BENCH)

SOAK := $(addprefix $(B)/tests/soak/,curls threads families families-plugin.so)
SOAK_SECONDS ?= 600
SOAK_CC = $(CC) -std=gnu11 -D_GNU_SOURCE $(WARNINGS) $(CFLAGS)

$(B)/tests/soak/%: tests/soak/%.c $(wildcard tests/soak/*.h) Makefile
	@mkdir -p $(@D)
	$(call say,CC)$(SOAK_CC) -o $@ $< -lcurl -pthread

$(B)/tests/soak/families-plugin.so: tests/soak/plugin.c $(wildcard tests/soak/*.h) Makefile
	@mkdir -p $(@D)
	$(call say,CC)$(SOAK_CC) -shared -fPIC -o $@ $<

soak: all $(SOAK)
	tests/soak/run $(B) $(SOAK_SECONDS)

check-soak: all $(SOAK)
	@$(MAKE) --no-print-directory -j2 -Otarget check-soak-short check-soak-healthy

check-soak-short:
	tests/soak/run $(B) 12

check-soak-healthy:
	tests/soak/healthy $(B)

# No sleep, no socket: the policy, and the operations' part in the host's state, under a virtual clock.
SIM_OBJECTS := $(POLICY) $(call objects,shim/runtime/share.c)

$(B)/tests/sim: $(wildcard tests/sim/*.[ch] include/retryshim/*.h) $(SIM_OBJECTS) Makefile
	@mkdir -p $(@D)
	$(call say,CC)$(CC) -std=gnu11 -D_GNU_SOURCE $(WARNINGS) $(CPPFLAGS) -Iinclude $(CFLAGS) -o $@ $(wildcard tests/sim/*.c) $(SIM_OBJECTS) -lm

sim: $(B)/tests/sim
	@$< $(B)/sim.svg

# The shipped code of the non-blocking states in every order; tests/model/model.h tells. Its variables are in a section of
# their own, and what it asks of the kernel goes to the model's (renames). MODEL=deep: larger bounds; MODEL='poll, and': those.
OBJCOPY ?= objcopy
MODEL ?=
MODEL_SHIPPED := $(patsubst %.c,$(B)/model/%.o,$(filter-out shim/hooks/curl% shim/hooks/dlopen.c shim/hooks/getaddrinfo.c shim/hooks/start.c, \
	$(wildcard shim/hooks/*.c)) $(addprefix shim/runtime/,clock.c socket.c share.c))
MODEL_PLAIN := $(POLICY) $(call objects,shim/runtime/addresses.c)
MODEL_OBJECTS := $(patsubst tests/model/%.c,$(B)/model/%.o,$(wildcard tests/model/*.c))
MODEL_FLAGS := -O1 -g -fexceptions -fsanitize=thread --param tsan-instrument-func-entry-exit=0 -fno-builtin-memset -fno-builtin-memcpy \
	-include tests/model/mark.h

$(B)/model/shim/%.o: shim/%.c tests/model/mark.h Makefile | $(B)/headers
	@mkdir -p $(@D)
	$(call say,CC)$(CC) -std=gnu11 -D_GNU_SOURCE $(LIBC) $(WARNINGS) $(CPPFLAGS) -Iinclude -Ishim $(MODEL_FLAGS) -MMD -MP -c -o $@ $<

$(B)/model/%.o: tests/model/%.c Makefile | $(B)/headers
	@mkdir -p $(@D)
	$(call say,CC)$(CC) -std=gnu11 -D_GNU_SOURCE $(WARNINGS) $(CPPFLAGS) -Iinclude -Ishim -O2 -g -MMD -MP -c -o $@ $<

$(B)/tests/model: $(MODEL_OBJECTS) $(MODEL_SHIPPED) $(MODEL_PLAIN) tests/model/renames
	@mkdir -p $(@D)
	@$(LD) -r -o $(B)/model/shipped.o $(MODEL_SHIPPED)
	@$(OBJCOPY) --rename-section .bss=shipped_bss --redefine-syms=tests/model/renames $(B)/model/shipped.o
	$(call say,LINK)$(CC) -o $@ $(MODEL_OBJECTS) $(B)/model/shipped.o $(MODEL_PLAIN)

model: $(B)/tests/model
	@$< $(MODEL)

# One safeguard less at a time: the model has to find each.
model-mutants: $(B)/tests/model
	@CC='$(CC)' LD='$(LD)' OBJCOPY='$(OBJCOPY)' MODEL_FLAGS='$(MODEL_FLAGS)' MODEL_SHIPPED='$(MODEL_SHIPPED)' MODEL_OBJECTS='$(MODEL_OBJECTS)' \
		MODEL_PLAIN='$(MODEL_PLAIN)' tests/model/mutants.sh $(B)

# A target is a file or a folder of tests/fuzz; the rooms that targets read are compiled once, into an archive from which each
# takes what it does not stand in for itself. What a target finds is written to $(B)/fuzz/NAME; what it learns, to
# $(B)/fuzz/NAME/corpus.
FUZZ_TARGETS := $(sort $(basename $(notdir $(wildcard tests/fuzz/*.c))) $(notdir $(patsubst %/,%,$(dir $(wildcard tests/fuzz/*/*.c)))))
FUZZ ?= $(FUZZ_TARGETS)
FUZZ_SECONDS ?= 120
FUZZ_OBJECTS = $(patsubst %.c,$(B)/fuzz/obj/%.o,$(wildcard $(1)))
FUZZ_SHIM := $(call FUZZ_OBJECTS,shim/policy/*.c shim/runtime/state*.c shim/cli/status_*.c shim/cli/tail*.c shim/cli/report*.c \
	$(addprefix shim/,runtime/share.c runtime/clock.c runtime/cancel.c runtime/symbols.c report/line.c report/words.c report/event.c report/emf.c report/statsd.c \
	report/exposition.c cli/arguments.c cli/duration.c cli/events.c cli/output.c cli/settings.c runtime/config_file.c hooks/curl_response.c hooks/curl_deliver.c \
	hooks/curl_journal.c hooks/curl_resume.c))
FUZZ_SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined
FUZZ_HOW = -max_len=2048 -artifact_prefix=$(B)/fuzz/$$target/ $$(test ! -f tests/fuzz/$$target.dict || echo -dict=tests/fuzz/$$target.dict) \
	$(B)/fuzz/$$target/corpus tests/fuzz/corpus/$$target

$(B)/fuzz/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC)clang -std=gnu11 -D_GNU_SOURCE $(LIBC) $(WARNINGS) -Iinclude -Ishim -O1 -g -fsanitize=fuzzer-no-link $(FUZZ_SANITIZE) \
		-MMD -MP -c -o $@ $<

$(B)/fuzz/obj/shim/cli/report_page.o: $(wildcard shim/cli/page/*)

$(B)/fuzz/shim.a: $(FUZZ_SHIM)
	$(call say,AR)rm -f $@ && ar rc $@ $^

$(foreach target,$(FUZZ_TARGETS),$(eval $(B)/tests/fuzz_$(target): \
	$(call FUZZ_OBJECTS,tests/fuzz/$(target).c tests/fuzz/$(target)/*.c) $(B)/fuzz/shim.a))
$(B)/tests/fuzz_%:
	@mkdir -p $(@D) $(B)/fuzz/$*/corpus
	$(call say,LINK)clang -fsanitize=fuzzer $(FUZZ_SANITIZE) -o $@ $^ -Wl,--as-needed -ljansson

fuzz: $(FUZZ:%=$(B)/tests/fuzz_%)
	@set -e; for target in $(FUZZ); do echo "fuzz: $$target"; \
		$(B)/tests/fuzz_$$target -max_total_time=$$(($(FUZZ_SECONDS) / $(words $(FUZZ)))) -print_final_stats=1 $(FUZZ_HOW); done

# What is known, each once; then two seconds of luck.
FUZZ_CHECKS := $(FUZZ_TARGETS:%=check-fuzz-%)
.PHONY: $(FUZZ_CHECKS)
$(FUZZ_CHECKS): check-fuzz-%: $(B)/tests/fuzz_%
	@target=$*; for how in -runs=0 -max_total_time=2; do \
		$< $$how -verbosity=0 $(FUZZ_HOW) >$(B)/fuzz/$*/log 2>&1 || { cat $(B)/fuzz/$*/log >&2; exit 1; }; done

check-fuzz:
	@$(MAKE) --no-print-directory -j2 $(FUZZ_CHECKS)
	@echo "fuzz: clean: $(FUZZ_TARGETS)"

demo:
	@scripts/deps demo
	@$(MAKE) --no-print-directory all $(FAULTSERVER)
	@scripts/demo $(B)

# ---- installing ---------------------------------------------------------------------------------

MANDIR ?= $(PREFIX)/share/man
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d

# What, its mode, and where to; `uninstall` takes exactly these away.
INSTALLED := \
	$(B)/retryshim:755:$(BINDIR)/retryshim \
	$(B)/libretryshim.so:644:$(LIBDIR)/libretryshim.so \
	shim/cli/retryshim.1:644:$(MANDIR)/man1/retryshim.1 \
	shim/libretryshim.7:644:$(MANDIR)/man7/libretryshim.7 \
	shim/cli/completion/retryshim.bash:644:$(BASHDIR)/retryshim \
	shim/cli/completion/_retryshim:644:$(ZSHDIR)/_retryshim \
	shim/cli/completion/retryshim.fish:644:$(FISHDIR)/retryshim.fish

install: all
	@set -e; umask 022; for row in $(INSTALLED); do \
		what=$${row%%:*} row=$${row#*:}; \
		(set -x; install -D -m $${row%%:*} $$what "$(DESTDIR)$${row#*:}"); \
	done

uninstall:
	rm -f $(foreach row,$(INSTALLED),"$(DESTDIR)$(lastword $(subst :, ,$(row)))")

# A Debian package of what is installed. Its paths are compiled in, so it has a build folder of its own; nothing of this
# machine's paths and clock gets in.
DEB_MULTIARCH ?= $(shell dpkg-architecture -qDEB_HOST_MULTIARCH)

deb:
	@command -v dpkg-shlibdeps >/dev/null || { echo "make: no dpkg-shlibdeps; on Debian: apt-get install dpkg-dev" >&2; exit 1; }
	@rm -rf $(B)/deb/root
	@$(MAKE) --no-print-directory B=$(B)/deb PREFIX=/usr LIBDIR=/usr/lib/$(DEB_MULTIARCH) ZSHDIR=/usr/share/zsh/vendor-completions \
		CFLAGS='$(CFLAGS) -ffile-prefix-map=$(CURDIR)=.' DESTDIR=$(abspath $(B))/deb/root install
	@scripts/deb/build $(B)/deb $(B)

clean:
	rm -rf $(B)

-include $(shell find $(B) -type f -name '*.d' 2>/dev/null)
