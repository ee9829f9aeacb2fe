/* What a setting's text must look like, beyond its length. Pure. */
#ifndef LOCKSET_CONFIG_FORMS_H
#define LOCKSET_CONFIG_FORMS_H

#include "base/buf.h"

/* Has the value the form that its setting needs? `name` is the setting's, or a region's ("api.listen"). INVALID says
 * which: "it must be ...". */
struct result config_check_form(const char *name, const char *value);

/* Does "127.0.0.1:8600", "[::1]", "localhost/x" ... name this very host, so that what goes there never leaves it? */
bool config_is_this_host(struct slice host_and_port);

#endif
