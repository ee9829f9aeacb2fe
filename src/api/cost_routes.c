/* What the calls of KMS are for, and what they cost: as counted since the keyring began, and as the settings make it.
 */
#include <stdlib.h>
#include <string.h>

#include "api/call.h"

enum { ASK_MS = 5000 };
static const double month_s = 730.0 * 3600; /* AWS's month */

json_t *cost_ask(struct api *api) {
    json_t *all = json_array();
    for (int64_t from = 0; from >= 0;) {
        JSON_AUTO(request);
        JSON_AUTO(answer);
        request = json_pack("{s:s, s:I}", "op", "cost", "from", (json_int_t)from);
        bool is_good =
            is_ok(keylink_call(api->keylink, request, ASK_MS, &answer)) && json_is_true(json_object_get(answer, "ok"));
        if (!is_good) {
            json_decref(all);
            return NULL;
        }
        json_array_extend(all, json_object_get(answer, "costs"));
        const json_t *next = json_object_get(answer, "next");
        from = json_is_integer(next) ? json_integer_value(next) : -1;
    }
    return all;
}

/* Jitter shortens an interval by up to a fifth, by a tenth on the average. */
static double planned_per_month(const struct config *c) {
    double probes = month_s * 1000 / (0.9 * (double)c->key_probe_interval_ms);
    double others = 4 * month_s * 1000 / (0.9 * (double)c->key_full_check_interval_ms);
    return probes + others;
}

static double price_of(const struct config *c, double requests) {
    return requests / 10000 * strtod(c->key_price_per_10000, NULL);
}

static json_t *dollars(double amount) {
    return json_real((double)(int64_t)(amount * 100 + 0.5) / 100);
}

struct sums {
    double planned, measured;
    bool has_measured;
};

/* One organization in one region. Under a minute nothing can be told from what was counted. */
static json_t *shape(const struct config *c, json_t *cost, struct sums *sums) {
    double seconds = (double)json_integer_value(json_object_get(cost, "seconds"));
    double calls = (double)json_integer_value(json_object_get(cost, "all"));
    double planned = planned_per_month(c), measured = seconds > 0 ? calls / seconds * month_s : 0;
    bool is_measured = seconds >= 60;
    json_t *j = json_object();
    static const char *const same[] = {"org", "region", "calls", "seconds", "is_capped"};
    for (size_t i = 0; i < ARRAY_LEN(same); i++)
        json_object_set(j, same[i], json_object_get(cost, same[i]));
    json_object_set(j, "calls_counted", json_object_get(cost, "all"));
    json_object_set_new(j, "calls_a_month", json_integer((json_int_t)planned));
    json_object_set_new(j, "usd_a_month", dollars(price_of(c, planned)));
    json_object_set_new(j, "measured_calls_a_month", is_measured ? json_integer((json_int_t)measured) : json_null());
    json_object_set_new(j, "measured_usd_a_month", is_measured ? dollars(price_of(c, measured)) : json_null());
    sums->planned += planned;
    sums->measured += measured;
    sums->has_measured = sums->has_measured || is_measured;
    return j;
}

static json_t *shape_total(const struct config *c, const struct sums *s) {
    double free_requests = (double)c->key_free_requests;
    double planned = s->planned > free_requests ? s->planned - free_requests : 0;
    double measured = s->measured > free_requests ? s->measured - free_requests : 0;
    json_t *j =
        json_pack("{s:I, s:o}", "calls_a_month", (json_int_t)s->planned, "usd_a_month", dollars(price_of(c, planned)));
    json_object_set_new(j, "measured_calls_a_month",
                        s->has_measured ? json_integer((json_int_t)s->measured) : json_null());
    json_object_set_new(j, "measured_usd_a_month", s->has_measured ? dollars(price_of(c, measured)) : json_null());
    json_object_set_new(j, "free_requests", json_integer(c->key_free_requests));
    json_object_set_new(j, "price_per_10000", json_string(c->key_price_per_10000));
    return j;
}

/* org NULL: of all. */
static struct result answer_cost(struct call *c, const char *org) {
    JSON_AUTO(costs);
    costs = cost_ask(c->api);
    if (!costs)
        return refuse(&c->why, ERR_UNREACHABLE, 503, "NOT_READY", 1,
                      "The keyring, which counts the calls, does not answer.");
    json_t *list = json_array(), *cost;
    struct sums sums = {0};
    size_t i;
    json_array_foreach(costs, i, cost) {
        const char *of = json_string_value(json_object_get(cost, "org"));
        if (!org || (of && strcmp(of, org) == 0)) json_array_append_new(list, shape(c->api->config, cost, &sums));
    }
    answer_json(c->http, 200,
                json_pack("{s:{s:o, s:o}}", "data", "regions", list, "total", shape_total(c->api->config, &sums)));
    return OK;
}

struct result admin_cost(struct call *c) {
    return answer_cost(c, NULL);
}

struct result admin_org_cost(struct call *c) {
    AUTO(registry_org_done) struct registry_org org = {0};
    TRY(admin_find_org(c, &org));
    return answer_cost(c, org.id);
}
