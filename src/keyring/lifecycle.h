/* The states of an organization's key in a region, as one table (lifecycle.def): which event leads from where to where,
 * and what that does to the lease. Pure; thread-safe. When events happen is lease_state.h's business. */
#ifndef LOCKSET_KEYRING_LIFECYCLE_H
#define LOCKSET_KEYRING_LIFECYCLE_H

#include "base/buf.h"

enum lease_phase {
    LEASE_STARTING,    /* nothing is known yet: the keyring has just begun */
    LEASE_AVAILABLE,   /* the key works; there is a lease */
    LEASE_UNAVAILABLE, /* no lease; comes back by itself when the key does */
    LEASE_PAUSED,      /* was unavailable for too long: only the operator leads out of it */
    LEASE_RECOVERING,  /* the operator asked for recovery; once the key passed there is a lease for that alone */
    LEASE_PHASE_MAX
};
const char *lease_phase_name(enum lease_phase phase); /* "AVAILABLE" */
/* false if no phase is called so. */
bool lease_phase_of(const char *name, enum lease_phase *ret);

enum life_event {
    LIFE_PASSED,    /* a preflight passed, as many times in a row as needed */
    LIFE_REFUSED,   /* KMS said no, and said so again; or the key's deletion date has passed */
    LIFE_SILENT,    /* no usable answer for longer than is ridden through */
    LIFE_PAUSE_DUE, /* key.pause_after of unavailability was observed */
    LIFE_RECOVER,   /* the operator asks for recovery */
    LIFE_RECOVERED, /* it was decided for each collection */
    LIFE_EVENT_MAX
};
const char *life_event_name(enum life_event event); /* "PASSED" */

enum life_effect {
    LIFE_GRANT, /* a lease begins */
    LIFE_KEEP,  /* the lease goes on */
    LIFE_END,   /* the lease, if there is one, ends */
    LIFE_NOTE,  /* no lease before and after; only the reason is another */
};

struct life_rule {
    enum lease_phase from, to;
    enum life_event event;
    enum life_effect effect;
};

/* NULL: this event changes nothing in this phase. */
const struct life_rule *life_find(enum lease_phase from, enum life_event event);
/* All rules. */
const struct life_rule *life_rules(size_t *ret_count);

#endif
