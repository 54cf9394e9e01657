-- When a message was tried first, in the time by which windows slide.
ALTER TABLE outbox ADD COLUMN since BIGINT;

-- An index for each way to ask for invites.
DROP INDEX invite_open;
CREATE INDEX invite_state ON invite (state, made);
CREATE INDEX invite_space ON invite (space, state);
CREATE INDEX invite_made ON invite (made);
CREATE INDEX invite_ended ON invite (ended) WHERE ended IS NOT NULL;

-- What brought no link is over once its mail was taken.
UPDATE invite SET state = 'told', ended = made WHERE state = 'sent' AND kind <> 'link'
  AND message NOT IN (SELECT id FROM outbox WHERE state IN ('held', 'due'));
