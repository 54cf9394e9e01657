-- What is to be told to people and programs, written with the fact that it tells, and how new people
-- get in. What a message says and whom it goes to is sealed; at its end what it says is erased.

PRAGMA user_version = 8;

CREATE TABLE outbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  channel TEXT NOT NULL,
  target TEXT,
  record TEXT,
  at INTEGER NOT NULL,
  state TEXT NOT NULL,
  due INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  why BLOB,
  ended INTEGER,
  body BLOB
) STRICT;

CREATE INDEX outbox_due ON outbox (channel, due) WHERE state = 'due';
CREATE INDEX outbox_record ON outbox (record) WHERE record IS NOT NULL;
CREATE INDEX outbox_ended ON outbox (ended) WHERE ended IS NOT NULL;

CREATE TABLE invite (
  id TEXT PRIMARY KEY,
  space INTEGER NOT NULL REFERENCES space,
  record TEXT NOT NULL,
  kind TEXT NOT NULL,
  token TEXT,
  message TEXT NOT NULL,
  made INTEGER NOT NULL,
  expires INTEGER,
  resent INTEGER NOT NULL,
  state TEXT NOT NULL,
  ended INTEGER,
  body BLOB NOT NULL
) STRICT;

CREATE INDEX invite_record ON invite (record);
CREATE INDEX invite_open ON invite (state) WHERE state IN ('held', 'sent');
CREATE UNIQUE INDEX invite_token ON invite (token) WHERE token IS NOT NULL;
