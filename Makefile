# quantdrift. `make help` lists every target.
# Objects live in a folder keyed by compiler and flags, so that sanitizer and release objects never mix.
# Every path here is relative and free of spaces: the checkout itself may stand in a folder with spaces.

ifeq ($(origin CC),default)
CC := gcc
endif
CFLAGS   ?= -O3 -g
WERROR   ?=
SANITIZE ?=
# MPI=1 builds data-parallel training in (mpirun); needs Open MPI, or another MPI with an mpicc.
MPI      ?=
# A program that runs ours on this machine, such as qemu-aarch64-static; empty when the machine does it itself.
EMULATOR ?=
PREFIX   ?= /usr/local
DESTDIR  ?=
# V=1 shows the commands instead of what they make.
Q := $(if $(V),,@)
# Criterion jobs a program: two keep both cores of a small machine busy.
TEST_JOBS ?= 2

comma := ,
empty :=
space := $(empty) $(empty)
AR := $(if $(findstring aarch64-linux-gnu,$(CC)),aarch64-linux-gnu-ar,ar)
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
QD_CFLAGS := -std=c11 -D_GNU_SOURCE -Iinclude -Isrc -fopenmp -ffp-contract=off -fno-math-errno -fno-trapping-math \
             $(WARNINGS) $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all)
QD_LIBS  := -lopenblas -lpng -ljpeg -lcjson -lzip -lprotobuf-c -lm -lpthread

# The folder's name tells the compiler and the sanitizers; other flags than the default ones add their hash.
DEFAULT_CFLAGS := -O3 -g
FLAGS_HASH := $(if $(filter-out $(DEFAULT_CFLAGS),$(CFLAGS))$(filter-out $(CFLAGS),$(DEFAULT_CFLAGS)),-$(shell printf '%s' '$(CFLAGS)' | sha256sum | cut -c1-8))
BUILD ?= build/$(subst $(space),-,$(notdir $(CC)))$(if $(SANITIZE),-$(subst $(comma),-,$(SANITIZE)))$(FLAGS_HASH)
QD_CFLAGS += -I$(BUILD)/generated
# With MPI all objects but one are the same; library and program stand beside the plain ones.
LIBRARY := $(BUILD)/libquantdrift$(if $(MPI),-mpi).a
PROGRAM := $(BUILD)/quantdrift$(if $(MPI),-mpi)
# The header's path as a system one: its warnings are not ours.
MPI_CFLAGS := $(if $(MPI),$(patsubst -I%,-isystem %,$(shell mpicc --showme:compile)))
QD_LIBS += $(if $(MPI),$(shell mpicc --showme:link))

# Kernels of one instruction set a folder, which gets the set's flags; the program asks the processor before it calls them.
# Contraction into fused multiply-adds is what these sets are for; -ffp-contract=off elsewhere keeps the reference exact.
ifneq ($(filter x86_64%,$(shell $(CC) -dumpmachine)),)
ISA_FOLDERS      := kernels/avx2 kernels/avx512 $(addprefix kernels/int8_,avx2 avxvnni avx512 avx512vnni amx)
ISA_FLAGS_avx2   := -mavx2 -mfma -ffp-contract=fast
ISA_FLAGS_avx512 := -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma -mprefer-vector-width=512 -ffp-contract=fast
# Integer kernels keep the products and sums of their definition apart: no contraction.
ISA_FLAGS_int8_avx2       := -mavx2
ISA_FLAGS_int8_avxvnni    := -mavx2 -mavxvnni
ISA_FLAGS_int8_avx512     := -mavx512f -mavx512dq -mavx512bw -mavx512vl -mprefer-vector-width=512
ISA_FLAGS_int8_avx512vnni := $(ISA_FLAGS_int8_avx512) -mavx512vnni -mavx512vbmi
ISA_FLAGS_int8_amx        := $(ISA_FLAGS_int8_avx512vnni) -mamx-tile -mamx-int8
endif

LIB_SOURCES := $(sort $(wildcard $(addsuffix /*.c,$(addprefix src/,base random tensor kernels kernels/ref kernels/blas $(ISA_FOLDERS) nn graph \
               models dataset train observe quantize quantize/calibrators quantize/remedies formats exchange report experiment))))
LIB_SOURCES := $(filter-out src/experiment/processes_$(if $(MPI),none,mpi).c,$(LIB_SOURCES))
CLI_SOURCES := $(sort $(wildcard src/cli/*.c))
# Schemas that protoc-c makes C of; each file's name is unique in the tree.
PROTO_SOURCES := src/formats/onnx/onnx.proto src/formats/tensorboard.proto
PROTO_HEADERS := $(patsubst %.proto,$(BUILD)/generated/%.pb-c.h,$(notdir $(PROTO_SOURCES)))
LIB_OBJECTS := $(LIB_SOURCES:%.c=$(BUILD)/%.o) $(PROTO_HEADERS:.h=.o)
CLI_OBJECTS := $(CLI_SOURCES:%.c=$(BUILD)/%.o)
# Criterion starts each test as a traced process, which qemu-user cannot do; there a small runner forks them.
RUNNER_SOURCES := $(if $(EMULATOR),$(wildcard tests/support/cross/*.c))
SUPPORT_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard tests/support/*.c) $(RUNNER_SOURCES)))
# gcc 12 for aarch64 has an internal error in loops that reduce with fmax(), which tests use freely.
TEST_CFLAGS := -Itests $(if $(EMULATOR),-DTESTS_EMULATED=1) $(if $(filter aarch64%,$(shell $(CC) -dumpmachine)),-fno-tree-vectorize)
TEST_LIBS := $(if $(EMULATOR),,-lcriterion)
# One Criterion program a folder of tests; `SUITE="unit kernels"` chooses.
TEST_SUITES := unit kernels gradcheck parity property faults fuzz cli
SUITE ?= $(TEST_SUITES)
TEST_PROGRAMS := $(foreach s,$(SUITE),$(if $(wildcard tests/$(s)/*.c),$(BUILD)/test_$(s)))
# Trapping system calls is written for one processor.
FAULT_PROGRAM := $(if $(filter x86_64%,$(shell $(CC) -dumpmachine)),$(BUILD)/quantdrift_faults)
BENCH_PROGRAMS := $(patsubst tests/bench/%.c,$(BUILD)/%,$(sort $(wildcard tests/bench/*.c)))

.PHONY: all help run results test tests test-isa check setup lint format bench install sanitize thread-sanitize valgrind small-run aarch64 fuzz fuzzers faults each-fault clean FORCE
.DELETE_ON_ERROR:

all: $(LIBRARY) $(if $(CLI_SOURCES),$(PROGRAM)) ## build the library and the program

help: ## list every target
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | sort | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'

run: setup ## install what is missing, build, train and quantize the demo, print its table
	@$(MAKE) --no-print-directory all
	$(PROGRAM) synth --out data/synth
	$(PROGRAM) run experiments/demo.json --resume

results: all ## make tables, pages and plots of the results again from their JSON and say whether anything differs
	@scripts/make_results.sh $(PROGRAM)

test: setup ## install what is missing, build, run every test, say what was skipped
	@$(MAKE) --no-print-directory check

setup: ## install what building and testing need (by package name; sudo only when not root)
	@scripts/setup.sh build test

check: $(TEST_PROGRAMS) $(if $(filter cli faults,$(SUITE)),$(PROGRAM) $(FAULT_PROGRAM) $(BUILD)/onnx_reference) ## run the tests as they are; SUITE="unit kernels" chooses
	@QD_SOURCE_DIR=. QD_BUILD_DIR='$(BUILD)' QD_EMULATOR='$(EMULATOR)' QD_CC='$(CC)' \
	    QD_CFLAGS='$(QD_CFLAGS) $(CFLAGS)' QD_LIBS='$(QD_LIBS)' \
	    scripts/run_tests.sh $(TEST_JOBS) $(TEST_PROGRAMS)

# What lies below the command line, without the suites that no kernel touches. Sets with INT8 kernels alone take the float kernels of a set below.
# The best set, named last, is what `make test` runs on.
test-isa: $(TEST_PROGRAMS) $(PROGRAM) ## run the numeric tests for each instruction set but the best, the better ones masked
	@set -e; for cpu in $$($(PROGRAM) --version | sed -n 's/^cpu *\(.*\) [^ ]*$$/\1/p'); do echo "-- at most $$cpu"; \
	    case $$cpu in *vnni | amx) suites=kernels ;; *) suites="kernels gradcheck parity property" ;; esac; \
	    QD_TEST_CPU=$$cpu $(MAKE) --no-print-directory check SUITE="$$suites"; done

tests: $(TEST_PROGRAMS) ## build the test programs without running them

lint: $(BUILD)/generated/build_commit.h $(LIBRARY) ## check include rule, names, lengths, formatting, static analysis
	@$(foreach f,$(notdir $(ISA_FOLDERS)),ISA_FLAGS_$(f)='$(ISA_FLAGS_$(f))') scripts/lint/all.sh

format: ## let clang-format lay out every source file
	git ls-files '*.c' '*.h' | tr '\n' '\0' | xargs -0 clang-format -i

bench: $(BENCH_PROGRAMS) ## measure speed on this machine; CSV on the terminal and in the build folder
	@scripts/run_bench.sh $^

install: all ## copy binary, library and headers under DESTDIR and PREFIX
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/lib' '$(DESTDIR)$(PREFIX)/include/quantdrift'
	install -m 755 $(PROGRAM) '$(DESTDIR)$(PREFIX)/bin/'
	install -m 644 $(LIBRARY) '$(DESTDIR)$(PREFIX)/lib/'
	install -m 644 include/quantdrift/*.h '$(DESTDIR)$(PREFIX)/include/quantdrift/'

sanitize: ## run the tests under the address and undefined-behaviour sanitizers
	@$(MAKE) --no-print-directory check SANITIZE=address,undefined CFLAGS='-O1 -g'

thread-sanitize: ## let clang's thread sanitizer watch loader, cache and progress of a small run
	@$(MAKE) --no-print-directory small-run CC=clang SANITIZE=thread CFLAGS='-O1 -g'
# Valgrind is a processor without AVX-512, whatever OpenBLAS was told to expect.
valgrind: ## let valgrind watch the memory of a small run
	@$(MAKE) --no-print-directory small-run \
	    WATCHER='env -u OPENBLAS_CORETYPE valgrind -q --error-exitcode=9 --leak-check=full'
small-run: $(PROGRAM)
	@scripts/small_run.sh $(WATCHER) $(PROGRAM)

# Property and fault suites repeat whole trainings: too slow under an emulator for what they add there.
aarch64: ## cross-build for aarch64 and run a subset of the tests under qemu-user
	@scripts/setup.sh build aarch64
	@$(MAKE) --no-print-directory check CC=aarch64-linux-gnu-gcc EMULATOR=qemu-aarch64-static \
	    SUITE="kernels unit"

# Needs clang. Inputs that reach new code are kept in build/fuzz/; a finding is left in the current folder.
FUZZ_TARGETS := pth pickle safetensors onnx encodings quantized config grid results image
FUZZ_SECONDS ?= 60
fuzz: ## fuzz every reader of foreign files; FUZZ_SECONDS=3600 FUZZ_TARGETS="pth onnx" chooses
	@$(MAKE) --no-print-directory build/clang/libquantdrift.a CC=clang CFLAGS='$(DEFAULT_CFLAGS)'
	@$(MAKE) --no-print-directory fuzzers CC=clang SANITIZE=address,undefined,fuzzer-no-link CFLAGS='-O1 -g'
	@set -e; for target in $(FUZZ_TARGETS); do \
	    mkdir -p "build/fuzz/$$target"; echo "== fuzz $$target, $(FUZZ_SECONDS) s"; \
	    build/clang-address-undefined-fuzzer-no-link*/"fuzz_$$target" -max_total_time=$(FUZZ_SECONDS) -timeout=10 \
	        -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 "build/fuzz/$$target" "tests/fuzz/corpus/$$target"; done

# Every failure takes hours: FAULT_COUNT of each kind, spread evenly over the operation.
FAULT_OPERATIONS := train resume quantize encodings import import-safetensors export inspect report grid
FAULT_COUNT ?= 100
faults: ## let each allocation, write, fsync, rename, read of each operation fail; FAULT_COUNT=1000000 FAULT_OPERATIONS=import chooses
	@$(MAKE) --no-print-directory each-fault SANITIZE=address,undefined CFLAGS='-O1 -g'
each-fault: $(PROGRAM) $(FAULT_PROGRAM)
	@set -e; for operation in $(FAULT_OPERATIONS); do tests/faults/each_fault.sh '$(BUILD)' $$operation $(FAULT_COUNT); done

# The readers, instrumented. What else they name, such as the list of models, comes from the plain library: instrumented
# kernels would take minutes to compile.
FUZZ_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard $(addsuffix /*.c,src/base src/tensor src/formats src/dataset))) \
                src/exchange/inspect_onnx.c tests/fuzz/fuzz_targets.c \
                $(addprefix src/experiment/,config.c config_keys.c experiment_file.c grid_file.c recipe_lists.c results.c results_read.c)) \
                $(PROTO_HEADERS:.h=.o)
fuzzers: $(FUZZ_TARGETS:%=$(BUILD)/fuzz_%)

$(FUZZ_TARGETS:%=$(BUILD)/fuzz_%): $(BUILD)/fuzz_%: tests/fuzz/driver/libfuzzer.c $(FUZZ_OBJECTS)
	$(if $(V),,@echo "  LINK $@")
	$(Q)$(CC) $(QD_CFLAGS) $(CFLAGS) -Itests -fsanitize=fuzzer -DFUZZ_TARGET=fuzz_$* -o $@ $^ build/clang/libquantdrift.a $(QD_LIBS)

clean: ## remove everything that was built
	rm -rf build

# Objects follow the compiler and its flags; the archive follows the list of sources (a deleted file leaves it).
FLAGS_TEXT = $(CC) $(QD_CFLAGS) $(CFLAGS) $(shell $(CC) --version 2>/dev/null | head -n 1)
$(BUILD)/flags.txt: FORCE
	@mkdir -p $(@D); printf '%s\n' '$(FLAGS_TEXT)' | cmp -s - $@ || printf '%s\n' '$(FLAGS_TEXT)' > $@
$(LIBRARY:.a=.sources.txt): FORCE
	@mkdir -p $(@D); printf '%s\n' $(LIB_SOURCES) | cmp -s - $@ || printf '%s\n' $(LIB_SOURCES) > $@

# What --version and results files say about the build.
$(BUILD)/generated/build_commit.h: FORCE
	@mkdir -p $(@D); scripts/build_commit.sh > $@.new; cmp -s $@.new $@ && rm $@.new || mv $@.new $@
$(BUILD)/src/base/build_info.o: $(BUILD)/generated/build_commit.h
$(BUILD)/src/base/build_info.o: QD_EXTRA := -I$(BUILD)/generated
$(BUILD)/src/experiment/processes_mpi.o: QD_EXTRA := $(MPI_CFLAGS)

# Its assembler includes what the compiler does not see.
$(BUILD)/src/report/page_assets.o: $(wildcard src/report/page/* src/report/vendor/uplot/*)

# Both the source and the header; the compiler's warnings are not for generated code.
vpath %.proto $(sort $(dir $(PROTO_SOURCES)))
$(BUILD)/generated/%.pb-c.c $(BUILD)/generated/%.pb-c.h: %.proto
	@mkdir -p $(@D)
	$(if $(V),,@echo "  PROTO $<")
	$(Q)protoc-c --proto_path=$(<D) --c_out=$(@D) $<
$(BUILD)/generated/%.pb-c.o: $(BUILD)/generated/%.pb-c.c $(BUILD)/flags.txt
	$(if $(V),,@echo "  CC   $@")
	$(Q)$(CC) $(QD_CFLAGS) $(CFLAGS) -w -c -o $@ $<

$(BUILD)/%.o: %.c $(BUILD)/flags.txt | $(PROTO_HEADERS)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC   $@")
	$(Q)$(CC) $(QD_CFLAGS) $(if $(WERROR),-Werror) $(QD_EXTRA) $(if $(filter tests/%,$<),$(TEST_CFLAGS)) $(CFLAGS) \
	    $(ISA_FLAGS_$(notdir $(<D))) -MMD -MP -c -o $@ $<

$(LIBRARY): $(LIB_OBJECTS) $(LIBRARY:.a=.sources.txt)
	$(if $(V),,@echo "  AR   $@")
	$(Q)rm -f $@; $(AR) rcs $@ $(LIB_OBJECTS)

$(PROGRAM): $(CLI_OBJECTS) $(LIBRARY)
	$(if $(V),,@echo "  LINK $@")
	$(Q)$(CC) $(QD_CFLAGS) $(CFLAGS) -o $@ $^ $(QD_LIBS)

# The program with one failure built in, for tests/faults/each_fault.sh.
FAULT_CALLS := malloc calloc realloc reallocarray strdup strndup vasprintf open_memstream sigfillset
$(BUILD)/quantdrift_faults: $(CLI_OBJECTS) $(BUILD)/tests/faults/program/fault_injection.o $(LIBRARY)
	$(if $(V),,@echo "  LINK $@")
	$(Q)$(CC) $(QD_CFLAGS) $(CFLAGS) $(FAULT_CALLS:%=-Wl,--wrap=%) -o $@ $^ $(QD_LIBS)

define SUITE_RULE
$(BUILD)/test_$(1): $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard tests/$(1)/*.c))) $(SUPPORT_OBJECTS) $(LIBRARY)
	$$(if $$(V),,@echo "  LINK $$@")
	$$(Q)$$(CC) $$(QD_CFLAGS) $$(CFLAGS) -o $$@ $$^ $$(QD_LIBS) $$(TEST_LIBS)
endef
$(foreach s,$(TEST_SUITES),$(eval $(call SUITE_RULE,$(s))))

$(BUILD)/bench_%: $(BUILD)/tests/bench/bench_%.o $(LIBRARY)
	$(if $(V),,@echo "  LINK $@")
	$(Q)$(CC) $(QD_CFLAGS) $(CFLAGS) -o $@ $^ $(QD_LIBS)

# Programs that scripts/ compare with other runtimes, and with several processes.
$(BUILD)/mpi_steps: $(BUILD)/tests/support/shared_training.o
$(BUILD)/%: $(BUILD)/tests/compare/%.o $(LIBRARY)
	$(if $(V),,@echo "  LINK $@")
	$(Q)$(CC) $(QD_CFLAGS) $(CFLAGS) -o $@ $(filter %.o,$^) $(LIBRARY) $(QD_LIBS)

.SECONDARY:
-include $(LIB_OBJECTS:.o=.d) $(CLI_OBJECTS:.o=.d) $(SUPPORT_OBJECTS:.o=.d) \
         $(foreach s,$(TEST_SUITES) bench,$(patsubst %.c,$(BUILD)/%.d,$(wildcard tests/$(s)/*.c)))
