/* GET of a bucket's or an object's subresources. Each answer is the state that every bucket and object here has:
 * private, not versioned, encrypted with the organization's key. They can't be set: a PUT is not implemented. Source:
 * API_GetBucketAcl, API_GetBucketVersioning and so on; the errors are those of a bucket without the setting. */
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/xml.h"
#include "gateway/exchange.h"

/* --- Documents --- */

static void acl(struct exchange *x, struct buf *out) {
    /* The writer of base/xml.h knows no attributes; an organization's id needs no escaping. */
    const char *org = lease_org(x->settings->lease);
    buf_printf(out,
               "<AccessControlPolicy xmlns=\"" S3_NAMESPACE "\"><Owner><ID>%s</ID><DisplayName>%s</DisplayName></Owner>"
               "<AccessControlList><Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" "
               "xsi:type=\"CanonicalUser\"><ID>%s</ID><DisplayName>%s</DisplayName></Grantee>"
               "<Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>",
               org, org, org, org);
}

static void encryption(struct exchange *x, struct buf *out) {
    buf_printf(out,
               "<ServerSideEncryptionConfiguration xmlns=\"" S3_NAMESPACE "\"><Rule>"
               "<ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>%s"
               "</KMSMasterKeyID></ApplyServerSideEncryptionByDefault><BucketKeyEnabled>true</BucketKeyEnabled></Rule>"
               "</ServerSideEncryptionConfiguration>",
               x->settings->key_arn);
}

#define DOCUMENT(name, content) "<" name " xmlns=\"" S3_NAMESPACE "\">" content "</" name ">"
#define BLOCKS(name) "<" name ">true</" name ">"

struct subresource {
    const char *name;
    bool of_object; /* too */
    void (*write)(struct exchange *x, struct buf *out);
    const char *document;
    enum s3_error error;
};

static const struct subresource table[] = {
    {.name = "acl", .of_object = true, .write = acl},
    {.name = "encryption", .write = encryption},
    {.name = "versioning", .document = DOCUMENT("VersioningConfiguration", "")},
    {.name = "accelerate", .document = DOCUMENT("AccelerateConfiguration", "")},
    {.name = "logging", .document = DOCUMENT("BucketLoggingStatus", "")},
    {.name = "notification", .document = DOCUMENT("NotificationConfiguration", "")},
    {.name = "requestPayment", .document = DOCUMENT("RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>")},
    {.name = "ownershipControls",
     .document = DOCUMENT("OwnershipControls", "<Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>")},
    {.name = "publicAccessBlock",
     .document = DOCUMENT("PublicAccessBlockConfiguration", BLOCKS("BlockPublicAcls") BLOCKS("IgnorePublicAcls") BLOCKS(
                                                                "BlockPublicPolicy") BLOCKS("RestrictPublicBuckets"))},
    {.name = "tagging",
     .of_object = true,
     .document = DOCUMENT("Tagging", "<TagSet></TagSet>"),
     .error = S3_ERR_NO_SUCH_TAG_SET},
    {.name = "policy", .error = S3_ERR_NO_SUCH_BUCKET_POLICY},
    {.name = "policyStatus", .error = S3_ERR_NO_SUCH_BUCKET_POLICY},
    {.name = "cors", .error = S3_ERR_NO_SUCH_CORS},
    {.name = "lifecycle", .error = S3_ERR_NO_SUCH_LIFECYCLE},
    {.name = "website", .error = S3_ERR_NO_SUCH_WEBSITE},
    {.name = "object-lock", .error = S3_ERR_NO_OBJECT_LOCK},
    {.name = "replication", .error = S3_ERR_NO_REPLICATION},
};

/* False: answered. */
static bool object_is_there(struct exchange *x, struct store_info *ret) {
    struct result r = store_head(x->settings->store, x->request.key, ret);
    if (is_ok(r)) return true;
    exchange_fail_result(x, r, S3_ERR_NO_SUCH_KEY);
    return false;
}

void subresource_get(struct exchange *x) {
    bool is_object = x->request.key != NULL;
    AUTO(store_info_done) struct store_info info = {0};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const struct subresource *s = &table[i];
        if (s3_param(&x->request, s->name) == NULL || (is_object && !s->of_object)) continue;
        if (is_object && !object_is_there(x, &info)) return;
        if (s->error != S3_ERROR_NONE && !(is_object && s->document != NULL)) {
            exchange_fail(x, s->error, "%s", s3_error_text(s->error));
            return;
        }
        BUF_AUTO(document, EXCHANGE_ANSWER_MAX_BYTES);
        buf_append_str(&document, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        if (s->write != NULL)
            s->write(x, &document);
        else
            buf_append_str(&document, s->document);
        exchange_answer_xml(x, NULL, &document);
        return;
    }
    exchange_fail(x, S3_ERR_NOT_IMPLEMENTED, "%s", s3_error_text(S3_ERR_NOT_IMPLEMENTED));
}

/* --- GetObjectAttributes --- */

static bool wants(const char *list, const char *attribute) {
    struct slice rest = slice_str(list), one;
    while (rest.len > 0) {
        slice_cut(rest, ',', &one, &rest);
        while (one.len > 0 && one.data[0] == ' ')
            one = slice_make(one.data + 1, one.len - 1);
        if (slice_is(one, attribute)) return true;
    }
    return false;
}

static void write_attributes(const struct store_info *info, const char *list, struct xml_writer *w) {
    char etag[STORE_ETAG_TEXT_BYTES];
    store_etag_format(&info->etag, etag);
    if (wants(list, "ETag")) xml_element_str(w, "ETag", etag);
    for (size_t i = 0; i < info->field_count && wants(list, "Checksum"); i++) {
        enum s3_checksum_kind kind;
        if (!s3_checksum_of_header(info->fields[i].name, &kind)) continue;
        xml_open(w, "Checksum");
        xml_element_str(w, s3_checksum_element(kind), info->fields[i].value);
        xml_element_str(w, "ChecksumType", s3_checksum_type(info->fields[i].value));
        xml_close(w);
    }
    if (wants(list, "ObjectParts") && info->etag.parts > 0) {
        xml_open(w, "ObjectParts");
        xml_element_u64(w, "PartsCount", info->etag.parts);
        xml_close(w);
    }
    if (wants(list, "StorageClass")) xml_element_str(w, "StorageClass", "STANDARD");
    if (wants(list, "ObjectSize")) xml_element_u64(w, "ObjectSize", info->size);
}

void object_attributes(struct exchange *x) {
    AUTO(store_info_done) struct store_info info = {0};
    const char *list = exchange_header(x, "x-amz-object-attributes");
    if (list == NULL || list[0] == '\0') {
        exchange_fail(x, S3_ERR_INVALID_ARGUMENT, "the header x-amz-object-attributes is missing");
        return;
    }
    if (!object_is_there(x, &info)) return;
    char date[CLOCK_ISO_BYTES];
    clock_format_http(info.mtime_ms, date);
    FIELDS_AUTO(f);
    fields_add(&f, "Last-Modified", date);
    BUF_AUTO(document, EXCHANGE_ANSWER_MAX_BYTES);
    struct xml_writer w;
    xml_start(&w, &document);
    xml_open_ns(&w, "GetObjectAttributesResponse", S3_NAMESPACE);
    write_attributes(&info, list, &w);
    xml_close(&w);
    exchange_answer_xml(x, &f, &document);
}
