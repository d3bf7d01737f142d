# SPDX-License-Identifier: GPL-2.0-or-later
# tests.mk: how the tests are built; tests/runner runs them and counts.

# suite name -> sources beside tests/unit/test_NAME.c
POLICY_SRC := $(wildcard daemon/policy/*.c) daemon/util/quantity.c daemon/util/endpoint.c daemon/util/error.c
DECIDE_SRC := $(wildcard daemon/decide/*.c) daemon/util/endpoint.c daemon/policy/policy.c tests/unit/sim.c tests/unit/trace.c
UNIT_quantity := daemon/util/quantity.c
UNIT_endpoint := daemon/util/endpoint.c
UNIT_policy := $(POLICY_SRC)
UNIT_policy_files := $(POLICY_SRC)
UNIT_watch := daemon/watch.c $(POLICY_SRC)
UNIT_rules :=
UNIT_loop := $(DECIDE_SRC) tests/unit/breaker_fixture.c
UNIT_baseline := $(DECIDE_SRC)
UNIT_risk := $(DECIDE_SRC)
UNIT_verdict := $(DECIDE_SRC)
UNIT_breaker := $(DECIDE_SRC) tests/unit/breaker_fixture.c
UNIT_behind := $(DECIDE_SRC) tests/unit/breaker_fixture.c $(wildcard daemon/record/explain_*.c)
UNIT_mute := $(DECIDE_SRC) tests/unit/breaker_fixture.c
UNIT_proof := $(DECIDE_SRC) tests/unit/breaker_fixture.c
UNIT_decide := $(DECIDE_SRC)
UNIT_disarm := daemon/decide/disarm.c
UNIT_network := $(DECIDE_SRC) tests/unit/breaker_fixture.c
TEXT_SRC := daemon/api/text.c $(wildcard daemon/record/explain_*.c) $(wildcard daemon/util/*.c)
UNIT_sense := daemon/sense/sense.c daemon/sense/requests.c daemon/sense/doors.c daemon/kernel/counters.c
UNIT_memory := daemon/sense/memory.c daemon/policy/policy.c daemon/sense/look.c daemon/sense/load.c daemon/groups/groups.c daemon/groups/files.c daemon/groups/proc.c $(wildcard daemon/util/*.c)
UNIT_proc := daemon/groups/proc.c
UNIT_match := daemon/groups/match.c daemon/groups/proc.c daemon/policy/policy.c
UNIT_placed := daemon/act/placed.c daemon/groups/match.c daemon/groups/proc.c daemon/policy/policy.c
UNIT_put := daemon/act/put.c daemon/act/place.c daemon/act/placed.c daemon/groups/proc.c daemon/policy/policy.c
UNIT_doors := daemon/groups/doors.c daemon/util/endpoint.c
UNIT_growth := daemon/sense/growth.c
UNIT_shed := $(DECIDE_SRC) tests/unit/breaker_fixture.c
UNIT_act_forks := daemon/act/forks.c
UNIT_forks := $(DECIDE_SRC) tests/unit/breaker_fixture.c daemon/record/record.c daemon/record/explains.c $(wildcard daemon/record/explain_*.c)
UNIT_act_evict := daemon/act/evict.c
UNIT_act_stop := daemon/act/stop.c
UNIT_manager := daemon/act/manager.c daemon/act/bus.c daemon/act/bus_stop.c
UNIT_throttle := $(DECIDE_SRC) tests/unit/breaker_fixture.c $(wildcard daemon/record/explain_*.c)
UNIT_act_throttle := daemon/act/throttle.c daemon/act/undo.c daemon/act/knob.c daemon/groups/proc.c
UNIT_look := daemon/sense/look.c daemon/groups/proc.c
UNIT_leak := $(DECIDE_SRC) tests/unit/breaker_fixture.c $(wildcard daemon/record/explain_*.c)
UNIT_evict := $(DECIDE_SRC) tests/unit/breaker_fixture.c $(wildcard daemon/record/explain_*.c)
UNIT_stop := $(DECIDE_SRC) tests/unit/breaker_fixture.c $(wildcard daemon/record/explain_*.c)
UNIT_drain := daemon/act/drain.c daemon/act/destroy.c daemon/kernel/counters.c $(wildcard daemon/util/*.c)
UNIT_dependencies := daemon/sense/dependencies.c daemon/kernel/counters.c $(wildcard daemon/util/*.c)
UNIT_snapshot := daemon/api/snapshot.c $(wildcard daemon/util/*.c)
UNIT_explain_text := $(TEXT_SRC)
UNIT_record := daemon/record/record.c daemon/record/explains.c $(TEXT_SRC)
UNIT_slow := daemon/slow.c daemon/keep.c daemon/watch.c daemon/notice.c daemon/decide/disarm.c $(POLICY_SRC)
UNIT_metrics := $(wildcard daemon/api/metrics*.c) daemon/api/snapshot.c $(TEXT_SRC)
UNIT_json := daemon/api/snapshot.c daemon/api/json.c daemon/api/json_group.c daemon/api/json_record.c daemon/api/json_value.c $(TEXT_SRC)
UNIT_LIBS := -lcmocka -lcyaml -lyaml -lmd -ljansson -lsystemd -lm -lpthread

UNIT_NAMES = $(sort $(patsubst UNIT_%,%,$(filter UNIT_%,$(filter-out UNIT_LIBS UNIT_NAMES UNIT_BIN UNIT_SAN,$(.VARIABLES)))))
UNIT_BIN = $(patsubst %,$(BUILD)/tests/unit/test_%,$(UNIT_NAMES))
UNIT_SAN = $(patsubst %,$(BUILD)/san/tests/unit/test_%,$(UNIT_NAMES)) $(BUILD)/san/tests/fuzz/fuzz_policy

# programs that the integration tests start
TEST_PROGRAMS := $(BUILD)/tests/integration/api_harness
BENCH_PROGRAMS :=
include $(wildcard tests/*/*.mk)

TEST_CFLAGS := -std=gnu17 -D_GNU_SOURCE $(WARNINGS) -Iinclude -Idaemon -Itests/unit -O1 -g

# One call of the compiler a test: small enough, and the whole list of what it is made of stands in one line.
$(BUILD)/tests/unit/test_%: tests/unit/test_%.c $(BUILD)/tests/.changed
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(TEST_CFLAGS) -o $@ $< $(UNIT_$*) $(UNIT_LIBS)

$(BUILD)/san/tests/unit/test_%: tests/unit/test_%.c $(BUILD)/tests/.changed
	@mkdir -p $(@D)
	$(call say,SAN,$@)
	$(Q)$(CC) $(TEST_CFLAGS) $(SANITIZE) -o $@ $< $(UNIT_$*) $(UNIT_LIBS)

$(BUILD)/san/tests/fuzz/fuzz_policy: tests/fuzz/fuzz_policy.c $(BUILD)/tests/.changed
	@mkdir -p $(@D)
	$(call say,SAN,$@)
	$(Q)$(CC) $(TEST_CFLAGS) $(SANITIZE) -o $@ $< $(POLICY_SRC) -lcyaml -lyaml -lmd

$(BUILD)/tests/integration/api_harness: tests/integration/api_harness.c $(BUILD)/tests/.changed
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(TEST_CFLAGS) -Itests/integration -o $@ $< $(filter-out daemon/api/main.c,$(wildcard daemon/api/*.c)) \
		$(wildcard daemon/record/explain_*.c daemon/util/*.c) $(API_LIBS) -lpthread

# a test is rebuilt when any source or header is newer: cheaper than tracking each one's list
$(BUILD)/tests/.changed: $(wildcard daemon/*.[ch] daemon/*/*.[ch] include/pileguard/*.h tests/unit/*.[ch] tests/integration/*.h)
	@mkdir -p $(@D) && touch $@

check-unit: all
	$(MAKE) -s $(UNIT_BIN) $(UNIT_SAN)
	./tests/runner --build $(BUILD) unit sanitized fuzz

check:
	./tests/deps
	$(MAKE) all
	$(MAKE) -s $(UNIT_BIN) $(UNIT_SAN) $(TEST_PROGRAMS)
	./tests/runner --build $(BUILD) unit sanitized fuzz lint package integration vm

check-long:
	./tests/deps
	$(MAKE) all
	$(MAKE) -s $(UNIT_BIN) $(UNIT_SAN) $(TEST_PROGRAMS)
	./tests/runner --build $(BUILD) unit sanitized fuzz lint package integration integration-long vm vm-long

bench: all
	$(MAKE) -s $(BENCH_PROGRAMS)
	./tests/bench/run --build $(BUILD) $(BENCH)

demo:
	./tests/deps
	$(MAKE) all
	./tests/vm/run incident --guard both --seed 1

lint:
	./tests/lint

format:
	./tests/lint --fix
