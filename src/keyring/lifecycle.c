#include "keyring/lifecycle.h"

#include <string.h>

static const struct life_rule rules[] = {
#define RULE(from, event, to, effect) {LEASE_##from, LEASE_##to, LIFE_##event, LIFE_##effect},
#include "keyring/lifecycle.def"
#undef RULE
};

static const char *const phase_names[LEASE_PHASE_MAX] = {"STARTING", "AVAILABLE", "UNAVAILABLE", "PAUSED",
                                                         "RECOVERING"};

const char *lease_phase_name(enum lease_phase phase) {
    return phase_names[phase];
}

bool lease_phase_of(const char *name, enum lease_phase *ret) {
    for (int i = 0; i < LEASE_PHASE_MAX; i++) {
        if (strcmp(name, phase_names[i]) != 0) continue;
        *ret = (enum lease_phase)i;
        return true;
    }
    return false;
}

const char *life_event_name(enum life_event event) {
    static const char *const names[LIFE_EVENT_MAX] = {"PASSED",    "REFUSED", "SILENT",
                                                      "PAUSE_DUE", "RECOVER", "RECOVERED"};
    return names[event];
}

const struct life_rule *life_find(enum lease_phase from, enum life_event event) {
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        if (rules[i].from == from && rules[i].event == event) return &rules[i];
    return NULL;
}

const struct life_rule *life_rules(size_t *ret_count) {
    *ret_count = ARRAY_LEN(rules);
    return rules;
}
