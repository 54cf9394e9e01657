-- The embedded directory. Resources are SCIM JSON (TEXT) without what is derived: `groups` of a
-- user and `members` of a group stand in `member`. A later change is a new file, never an edit.

PRAGMA application_id = 1919906404; -- 'rord'
PRAGMA user_version = 1;

CREATE TABLE namespace (
  id INTEGER PRIMARY KEY,
  target TEXT NOT NULL,
  environment TEXT NOT NULL,
  UNIQUE (target, environment)
) STRICT;

-- `name` is the user name with ASCII letters folded (RFC 7643 section 4.1.1: not case exact).
CREATE TABLE user (
  namespace INTEGER NOT NULL REFERENCES namespace,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  external_id TEXT,
  resource TEXT NOT NULL,
  PRIMARY KEY (namespace, id),
  UNIQUE (namespace, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX user_external ON user (namespace, external_id) WHERE external_id IS NOT NULL;

CREATE TABLE team (
  namespace INTEGER NOT NULL REFERENCES namespace,
  id TEXT NOT NULL,
  resource TEXT NOT NULL,
  PRIMARY KEY (namespace, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE member (
  namespace INTEGER NOT NULL,
  user TEXT NOT NULL,
  team TEXT NOT NULL,
  PRIMARY KEY (namespace, user, team),
  FOREIGN KEY (namespace, user) REFERENCES user ON DELETE CASCADE,
  FOREIGN KEY (namespace, team) REFERENCES team ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX member_team ON member (namespace, team, user);
