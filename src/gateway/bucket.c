/* The one bucket there is. */
#include <string.h>

#include "base/clock.h"
#include "base/xml.h"
#include "gateway/exchange.h"
#include "gateway/s3_xml.h"

/* One bucket is one page: max-buckets (1 or more) makes no difference. */
static bool is_asked_for(struct exchange *x) {
    const char *prefix = s3_param(&x->request, "prefix"), *region = s3_param(&x->request, "bucket-region");
    return (prefix == NULL || strncmp(x->settings->bucket, prefix, strlen(prefix)) == 0) &&
           (region == NULL || strcmp(x->settings->region, region) == 0);
}

void bucket_list_all(struct exchange *x) {
    struct s3_refusal refusal;
    uint64_t max = 0;
    if (!s3_param_number(&x->request, "max-buckets", 10000, 10000, false, &max, &refusal) || max == 0) {
        exchange_fail(x, S3_ERR_INVALID_ARGUMENT, "max-buckets must be from 1 to 10000");
        return;
    }
    char created[CLOCK_ISO_BYTES];
    clock_format_iso(x->settings->bucket_created_ms, created);
    BUF_AUTO(document, EXCHANGE_ANSWER_MAX_BYTES);
    struct xml_writer w;
    xml_start(&w, &document);
    xml_open_ns(&w, "ListAllMyBucketsResult", S3_NAMESPACE);
    xml_open(&w, "Owner");
    xml_element_str(&w, "ID", lease_org(x->settings->lease));
    xml_element_str(&w, "DisplayName", lease_org(x->settings->lease));
    xml_close(&w);
    xml_open(&w, "Buckets");
    if (is_asked_for(x)) {
        xml_open(&w, "Bucket");
        xml_element_str(&w, "Name", x->settings->bucket);
        xml_element_str(&w, "CreationDate", created);
        xml_element_str(&w, "BucketRegion", x->settings->region);
        xml_close(&w);
    }
    xml_close(&w);
    if (s3_param(&x->request, "prefix") != NULL) xml_element_str(&w, "Prefix", s3_param(&x->request, "prefix"));
    xml_close(&w);
    exchange_answer_xml(x, NULL, &document);
}

void bucket_head(struct exchange *x) {
    FIELDS_AUTO(f);
    fields_add(&f, "x-amz-bucket-region", x->settings->region);
    exchange_answer_empty(x, 200, &f);
}

void bucket_create(struct exchange *x) {
    struct s3_refusal refusal;
    AUTO_FREE char *location = NULL;
    if (!s3_create_bucket_parse(buf_slice(&x->body), &location, &refusal)) {
        exchange_refuse(x, &refusal);
        return;
    }
    exchange_fail(x, S3_ERR_BUCKET_OWNED_BY_YOU, "%s", s3_error_text(S3_ERR_BUCKET_OWNED_BY_YOU));
}

void bucket_location(struct exchange *x) {
    /* us-east-1 is told by emptiness. Source: API_GetBucketLocation. The writer of base/xml.h knows no text in an
     * element with a namespace; a region's name needs no escaping. */
    const char *region = strcmp(x->settings->region, "us-east-1") == 0 ? "" : x->settings->region;
    BUF_AUTO(document, EXCHANGE_ANSWER_MAX_BYTES);
    buf_printf(&document,
               "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<LocationConstraint xmlns=\"" S3_NAMESPACE
               "\">%s</LocationConstraint>",
               region);
    exchange_answer_xml(x, NULL, &document);
}
