-- What new accounts open by: a salted hash, and whether it is to be changed at the first sign-in. A password
-- that rosterd makes has over 60 bits of chance, so no slow hash is needed.

PRAGMA user_version = 2;

CREATE TABLE password (
  namespace INTEGER NOT NULL,
  user TEXT NOT NULL,
  salt BLOB NOT NULL,
  hash BLOB NOT NULL,
  must_change INTEGER NOT NULL,
  PRIMARY KEY (namespace, user),
  FOREIGN KEY (namespace, user) REFERENCES user ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
