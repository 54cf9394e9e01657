-- What waits for a person's decision, and what was decided.

CREATE TABLE request (
  space BIGINT NOT NULL REFERENCES space,
  record TEXT COLLATE "C" NOT NULL,
  subject TEXT COLLATE "C" NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (space, record, subject)
);
