#include "registry/schema.h"

#define RECOVERIES                                                                                                     \
    "CREATE TABLE recoveries("                                                                                         \
    " collection TEXT PRIMARY KEY NOT NULL REFERENCES collections(id) ON DELETE CASCADE,"                              \
    " verdict INTEGER NOT NULL CHECK(verdict IN (0, 1, 2)), readable INTEGER NOT NULL CHECK(readable IN (0, 1)),"      \
    " reason TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;"

#define MARKS "CREATE TABLE marks(name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;"

#define S3_KEYS                                                                                                        \
    "CREATE TABLE s3_keys("                                                                                            \
    " id TEXT PRIMARY KEY NOT NULL CHECK(length(id) = 20), org TEXT NOT NULL, region TEXT NOT NULL,"                   \
    " name TEXT NOT NULL, created_at_ms INTEGER NOT NULL, created_by TEXT NOT NULL,"                                   \
    " FOREIGN KEY(org, region) REFERENCES org_regions(org, region)) STRICT, WITHOUT ROWID;"                            \
    "CREATE INDEX s3_keys_by_org ON s3_keys(org, region, created_at_ms);"

const char registry_from_1_sql[] = RECOVERIES MARKS;
const char registry_from_2_sql[] = S3_KEYS;

/* The triggers are S4: they bind every program that opens the file, sqlite3's shell included.
 *
 * key_links_once: a link is inserted before its organization, so that one which exists can't get one later. REPLACE
 * forms don't fire delete triggers, but the insert triggers come first and see what would be replaced. retired_orgs
 * remembers the ids of deleted organizations, so that deleting and inserting again is no way to another key. */
const char registry_schema_sql[] =
    "CREATE TABLE organizations("
    " id TEXT PRIMARY KEY NOT NULL CHECK(length(id) = 21 AND substr(id, 1, 1) = 'o'),"
    " name TEXT NOT NULL UNIQUE, display_name TEXT NOT NULL,"
    " created_at_ms INTEGER NOT NULL, created_by TEXT NOT NULL) STRICT, WITHOUT ROWID;"

    "CREATE TABLE retired_orgs(id TEXT PRIMARY KEY NOT NULL) STRICT, WITHOUT ROWID;"

    "CREATE TABLE key_links("
    " org TEXT PRIMARY KEY NOT NULL, kind TEXT NOT NULL CHECK(kind IN ('service', 'customer')),"
    " kms_key_arn TEXT, home_region TEXT NOT NULL,"
    " CHECK((kind = 'customer') = (kms_key_arn IS NOT NULL))) STRICT, WITHOUT ROWID;"

    "CREATE TABLE org_regions("
    " org TEXT NOT NULL REFERENCES organizations(id), region TEXT NOT NULL, kms_key_arn TEXT NOT NULL,"
    " state TEXT NOT NULL, cause TEXT, reason TEXT NOT NULL, aws_error TEXT,"
    " since_ms INTEGER NOT NULL, last_success_ms INTEGER NOT NULL, unavailable_ms INTEGER NOT NULL,"
    " deletion_ms INTEGER NOT NULL DEFAULT 0, epoch INTEGER NOT NULL DEFAULT 0,"
    " PRIMARY KEY(org, region)) STRICT, WITHOUT ROWID;"

    "CREATE TABLE wrapped_keys("
    " id TEXT PRIMARY KEY NOT NULL CHECK(length(id) = 32), org TEXT NOT NULL, region TEXT NOT NULL,"
    " kind TEXT NOT NULL CHECK(kind IN ('branch', 'name')), kms_key_arn TEXT NOT NULL, material_id TEXT NOT NULL,"
    " wrapped BLOB NOT NULL, created_at_ms INTEGER NOT NULL, active INTEGER NOT NULL CHECK(active IN (0, 1)),"
    " FOREIGN KEY(org, region) REFERENCES org_regions(org, region)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX wrapped_keys_by_org ON wrapped_keys(org, region, created_at_ms);"
    "CREATE UNIQUE INDEX wrapped_keys_one_active ON wrapped_keys(org, region) WHERE active = 1 AND kind = 'branch';"
    "CREATE UNIQUE INDEX wrapped_keys_one_name ON wrapped_keys(org, region) WHERE kind = 'name';"

    "CREATE TABLE api_keys("
    " hash TEXT PRIMARY KEY NOT NULL CHECK(length(hash) = 64), org TEXT NOT NULL REFERENCES organizations(id),"
    " name TEXT NOT NULL, created_at_ms INTEGER NOT NULL, UNIQUE(org, name)) STRICT, WITHOUT ROWID;"

    "CREATE TABLE events("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT, org TEXT NOT NULL, region TEXT, at_ms INTEGER NOT NULL,"
    " kind TEXT NOT NULL, from_state TEXT, to_state TEXT, cause TEXT, reason TEXT, aws_error TEXT,"
    " actor TEXT NOT NULL) STRICT;"
    "CREATE INDEX events_by_org ON events(org, seq);"

    "CREATE TABLE workspaces("
    " org TEXT NOT NULL REFERENCES organizations(id), name TEXT NOT NULL, description TEXT NOT NULL,"
    " created_at_ms INTEGER NOT NULL, created_by TEXT NOT NULL, PRIMARY KEY(org, name)) STRICT, WITHOUT ROWID;"

    "CREATE TABLE collections("
    " id TEXT PRIMARY KEY NOT NULL CHECK(length(id) = 21 AND substr(id, 1, 1) = 'c'),"
    " org TEXT NOT NULL, region TEXT NOT NULL, workspace TEXT NOT NULL, name TEXT NOT NULL,"
    " description TEXT NOT NULL, status TEXT NOT NULL, created_at_ms INTEGER NOT NULL, created_by TEXT NOT NULL,"
    " retention_secs INTEGER NOT NULL, sealed BLOB NOT NULL, UNIQUE(org, region, workspace, name),"
    " FOREIGN KEY(org, workspace) REFERENCES workspaces(org, name),"
    " FOREIGN KEY(org, region) REFERENCES org_regions(org, region)) STRICT, WITHOUT ROWID;"

    RECOVERIES MARKS S3_KEYS

    "CREATE TRIGGER key_links_permanent BEFORE UPDATE ON key_links BEGIN"
    " SELECT RAISE(ABORT, 'a key link is permanent: it can not be changed'); END;"

    "CREATE TRIGGER key_links_kept BEFORE DELETE ON key_links"
    " WHEN EXISTS (SELECT 1 FROM organizations WHERE id = OLD.org) BEGIN"
    " SELECT RAISE(ABORT, 'a key link is permanent: it can not be removed while its organization exists'); END;"

    "CREATE TRIGGER key_links_once BEFORE INSERT ON key_links"
    " WHEN EXISTS (SELECT 1 FROM organizations WHERE id = NEW.org)"
    " OR EXISTS (SELECT 1 FROM retired_orgs WHERE id = NEW.org)"
    " OR EXISTS (SELECT 1 FROM key_links WHERE org = NEW.org) BEGIN"
    " SELECT RAISE(ABORT, 'a key link is made with its organization, never later'); END;"

    "CREATE TRIGGER organizations_linked BEFORE INSERT ON organizations"
    " WHEN NOT EXISTS (SELECT 1 FROM key_links WHERE org = NEW.id) BEGIN"
    " SELECT RAISE(ABORT, 'an organization needs its key link first'); END;"

    "CREATE TRIGGER organizations_once BEFORE INSERT ON organizations"
    " WHEN EXISTS (SELECT 1 FROM organizations WHERE id = NEW.id OR name = NEW.name)"
    " OR EXISTS (SELECT 1 FROM retired_orgs WHERE id = NEW.id) BEGIN"
    " SELECT RAISE(ABORT, 'an organization of this id or name exists or existed'); END;"

    "CREATE TRIGGER organizations_fixed BEFORE UPDATE OF id, name, created_at_ms, created_by ON organizations BEGIN"
    " SELECT RAISE(ABORT, 'only the display name of an organization can change'); END;"

    "CREATE TRIGGER organizations_retired AFTER DELETE ON organizations BEGIN"
    " INSERT INTO retired_orgs(id) VALUES (OLD.id); END;"

    "CREATE TRIGGER retired_orgs_kept BEFORE DELETE ON retired_orgs BEGIN"
    " SELECT RAISE(ABORT, 'ids are never used again'); END;"

    "CREATE TRIGGER retired_orgs_fixed BEFORE UPDATE ON retired_orgs BEGIN"
    " SELECT RAISE(ABORT, 'ids are never used again'); END;"

    "CREATE TRIGGER org_regions_key BEFORE INSERT ON org_regions"
    " WHEN EXISTS (SELECT 1 FROM key_links l WHERE l.org = NEW.org AND l.kind = 'customer' AND NEW.kms_key_arn <>"
    " replace(l.kms_key_arn, ':kms:' || l.home_region || ':', ':kms:' || NEW.region || ':')) BEGIN"
    " SELECT RAISE(ABORT, 'the key of a region is the linked key with its region replaced'); END;"

    "CREATE TRIGGER org_regions_fixed BEFORE UPDATE OF org, region, kms_key_arn ON org_regions BEGIN"
    " SELECT RAISE(ABORT, 'a key link is permanent: the key of a region can not be changed'); END;"

    "CREATE TRIGGER org_regions_epoch BEFORE UPDATE OF epoch ON org_regions WHEN NEW.epoch < OLD.epoch BEGIN"
    " SELECT RAISE(ABORT, 'epochs only grow'); END;"

    "CREATE TRIGGER events_fixed BEFORE UPDATE ON events BEGIN"
    " SELECT RAISE(ABORT, 'events are never changed'); END;";
