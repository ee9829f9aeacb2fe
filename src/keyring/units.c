/* The keyring's units and regions, by name. */
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
                                   .store = region->store,
                                   .kms = region->kms,
                                   .registry = k->registry,
                                   .service_account_id = k->config->service_account_id,
                                   .needs_multi_region = u->kind == REGISTRY_CUSTOMER,
                                   .timeout_ms = (unsigned)k->config->key_kms_timeout_ms};
    u->since_ms = clock_unix_ms();
    u->last_success_ms = row->last_success_ms;
    u->deletion_ms = row->deletion_ms;
    u->gateway_ending = (struct member){.fd = -1, .pidfd = -1};
    u->reason = str_dup("the key is being checked");
    pair_init(&u->pair);
    bool was_unavailable = strcmp(row->state, "UNAVAILABLE") == 0;
    lease_machine_init(&u->lease, u->kind == REGISTRY_CUSTOMER ? &k->customer_times : &k->service_times,
                       was_unavailable, jitter_seed(), clock_boottime_ns());
    if (k->unit_count == k->unit_capacity) {
        k->unit_capacity = k->unit_capacity ? 2 * k->unit_capacity : 16;
        k->units = mem_resize(k->units, k->unit_capacity * sizeof(struct unit *));
    }
    k->units[k->unit_count++] = u;
    unit_poke(u);
    return u;
}
