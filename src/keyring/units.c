/* The keyring's units and regions, by name. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "keyring/keyring.h"

struct region *keyring_find_region(struct keyring *k, const char *name) {
    for (size_t i = 0; i < k->region_count; i++)
        if (strcmp(k->regions[i].name, name) == 0) return &k->regions[i];
    return NULL;
}

struct unit *keyring_find_unit(struct keyring *k, const char *org, const char *region) {
    for (size_t i = 0; i < k->unit_count; i++)
        if (strcmp(k->units[i]->org, org) == 0 && strcmp(k->units[i]->region->name, region) == 0) return k->units[i];
    return NULL;
}

static uint64_t jitter_seed(void) {
    uint64_t seed = (uint64_t)clock_boottime_ns();
    result_ignore(random_bytes(&seed, sizeof seed)); /* the time spreads well enough, too */
    return seed;
}

/* PAUSED and RECOVERING go on as they were left. */
static void set_persisted(struct unit *u, const struct registry_region *row) {
    mem_free(u->reason);
    u->reason = str_dup(row->reason);
    u->aws_error = row->aws_error ? str_dup(row->aws_error) : NULL;
    if (row->aws_error) snprintf(u->verdict.aws_error, sizeof u->verdict.aws_error, "%s", row->aws_error);
    u->since_ms = row->since_ms;
}

struct unit *keyring_add_unit(struct keyring *k, struct region *region, const struct registry_region *row) {
    struct unit *u = mem_alloc(sizeof *u);
    u->k = k;
    u->region = region;
    u->org = str_dup(row->org);
    u->kms_key_arn = str_dup(row->kms_key_arn);
    u->kind = row->kind;
    u->place = (struct ring_place){.org = u->org,
                                   .region = region->name,
                                   .kms_key_arn = u->kms_key_arn,
                                   .shelf = region->shelf,
                                   .kms = region->kms,
                                   .meter = region->meter,
                                   .cost = &u->cost,
                                   .ledger = ledgers_get(k->ledgers, region->name, u->org),
                                   .registry = k->registry,
                                   .service_account_id = k->config->service_account_id,
                                   .needs_multi_region = u->kind == REGISTRY_CUSTOMER,
                                   .timeout_ms = (unsigned)k->config->key_kms_timeout_ms};
    u->since_ms = clock_unix_ms();
    u->last_success_ms = row->last_success_ms;
    u->deletion_ms = row->deletion_ms;
    purge_init(&u->purge);
    cost_init(&u->cost, k->max_calls_per_hour, clock_boottime_ns());
    u->reason = str_dup("the key is being checked");
    pair_init(&u->pair);
    struct lease_past past = {.phase = LEASE_STARTING, .unavailable_ns = row->unavailable_ms * NS_PER_MS};
    if (!lease_phase_of(row->state, &past.phase) || past.phase == LEASE_STARTING) past.phase = LEASE_UNAVAILABLE;
    past.cause = lease_cause_of(row->cause);
    u->noted_unavailable_ms = row->unavailable_ms;
    lease_machine_init(&u->lease, u->kind == REGISTRY_CUSTOMER ? &k->customer_times : &k->service_times, &past,
                       jitter_seed(), clock_boottime_ns());
    if (u->lease.phase != LEASE_STARTING) {
        set_persisted(u, row);
    }
    if (k->unit_count == k->unit_capacity) {
        k->unit_capacity = k->unit_capacity ? 2 * k->unit_capacity : 16;
        k->units = mem_resize(k->units, k->unit_capacity * sizeof(struct unit *));
    }
    k->units[k->unit_count++] = u;
    unit_poke(u);
    return u;
}
