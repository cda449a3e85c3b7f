# quantdrift. `make help` lists every target.
# Objects live in a folder keyed by compiler and flags, so that sanitizer and release objects never mix.

CC       ?= gcc
CFLAGS   ?= -O3 -g
WERROR   ?=
SANITIZE ?=
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
QD_CFLAGS := -std=c11 -D_GNU_SOURCE -Iinclude -Isrc -fopenmp -ffp-contract=off -fno-math-errno -fno-trapping-math \
             $(WARNINGS) $(if $(WERROR),-Werror) $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer)
QD_LIBS  := -lopenblas -lpng -ljpeg -lcjson -lm -lpthread
BUILD    ?= build/$(notdir $(CC))$(if $(SANITIZE),-$(subst $(comma),-,$(SANITIZE)))
comma    := ,

LIB_SOURCES := $(sort $(wildcard $(addsuffix /*.c,$(addprefix src/,base random tensor kernels kernels/ref kernels/blas nn graph \
               models dataset train observe quantize formats report experiment))))
CLI_SOURCES := $(sort $(wildcard src/cli/*.c))
LIB_OBJECTS := $(LIB_SOURCES:%.c=$(BUILD)/%.o)
CLI_OBJECTS := $(CLI_SOURCES:%.c=$(BUILD)/%.o)
SUPPORT_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard tests/support/*.c)))
# One Criterion program a folder of tests.
TEST_SUITES := unit kernels gradcheck parity property faults cli
TEST_PROGRAMS := $(foreach s,$(TEST_SUITES),$(if $(wildcard tests/$(s)/*.c),$(BUILD)/test_$(s)))

.PHONY: all check clean help
all: $(BUILD)/libquantdrift.a $(if $(CLI_SOURCES),$(BUILD)/quantdrift)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(QD_CFLAGS) $(if $(filter tests/%,$<),-Itests) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/libquantdrift.a: $(LIB_OBJECTS)
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/quantdrift: $(CLI_OBJECTS) $(BUILD)/libquantdrift.a
	$(CC) $(QD_CFLAGS) $(CFLAGS) -o $@ $^ $(QD_LIBS)

define SUITE_RULES
$(BUILD)/test_$(1): $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard tests/$(1)/*.c))) $(SUPPORT_OBJECTS) $(BUILD)/libquantdrift.a
	$$(CC) $$(QD_CFLAGS) $$(CFLAGS) -o $$@ $$^ $$(QD_LIBS) -lcriterion
endef
$(foreach s,$(TEST_SUITES),$(eval $(call SUITE_RULES,$(s))))

# Runs the tests as they are; `make check SUITE=unit` runs one program. Criterion is slow under a huge descriptor limit.
check: $(if $(SUITE),$(BUILD)/test_$(SUITE),$(TEST_PROGRAMS))
	@ulimit -n 1024; for t in $^; do echo "== $$t"; "$$t" -j2 --quiet || exit 1; done

clean:
	rm -rf build

-include $(LIB_OBJECTS:.o=.d) $(CLI_OBJECTS:.o=.d) $(SUPPORT_OBJECTS:.o=.d) $(foreach s,$(TEST_SUITES),$(patsubst %.c,$(BUILD)/%.d,$(wildcard tests/$(s)/*.c)))
