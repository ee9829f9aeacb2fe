/* Checksums of multipart uploads. Inside of gateway/ only; an exchange belongs to one thread. */
#ifndef LOCKSET_GATEWAY_PART_CHECKSUMS_H
#define LOCKSET_GATEWAY_PART_CHECKSUMS_H

#include "gateway/exchange.h"
#include "gateway/s3_xml.h"

/* What store_part_note is told: "CRC32:NhCmhg==", or "" if the part came without a checksum. */
void part_checksum_note(const struct exchange *x, char ret[static STORE_NOTE_BYTES]);
/* False: it holds none. *ret_text lies in note. */
bool part_checksum_of_note(const char *note, enum s3_checksum_kind *ret_kind, const char **ret_text);

struct object_checksum {
    enum s3_checksum_kind kind;
    char text[S3_CHECKSUM_TEXT_BYTES]; /* "": none */
};
/* The object's checksum from its parts'; none unless all have one of one kind. False: answered, since one that the
 * client named, of a part or of the whole, is another. */
bool part_checksums_join(struct exchange *x, const struct s3_part_list *named, struct object_checksum *ret);
/* Is x-amz-checksum-type, if given, what joining makes of this algorithm (NULL: not known)? False: answered. */
bool part_checksums_type(struct exchange *x, const char *algorithm);

#endif
