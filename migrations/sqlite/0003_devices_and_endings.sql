-- The user's sessions that began before this have been ended, except one.
ALTER TABLE users ADD COLUMN sessions_valid_from integer;
ALTER TABLE users ADD COLUMN kept_session_id blob;
-- When that was last set, by the clock of the database: instances ask for what is new.
ALTER TABLE users ADD COLUMN sessions_ended_at integer;
-- No more sessions live than this says: counted up by sign-ins, set right when it exceeds what an account may have.
ALTER TABLE users ADD COLUMN sessions_opened integer NOT NULL DEFAULT 0;

ALTER TABLE sessions ADD COLUMN device_hash text;
ALTER TABLE sessions ADD COLUMN device_name text;
ALTER TABLE sessions ADD COLUMN platform text;
ALTER TABLE sessions ADD COLUMN last_ip text;
ALTER TABLE sessions ADD COLUMN last_user_agent text;
-- Why revoked_at is set.
ALTER TABLE sessions ADD COLUMN ended_by text;

CREATE INDEX users_sessions_ended_at ON users (sessions_ended_at) WHERE sessions_ended_at IS NOT NULL;
CREATE INDEX sessions_user_id_created_at ON sessions (user_id, created_at);
CREATE INDEX sessions_distrusted ON sessions (expires_at)
    WHERE revoked_at IS NOT NULL AND coalesce(ended_by, '') NOT IN ('sign_out', 'limit');
-- The index on two columns does what it did.
DROP INDEX sessions_user_id;

-- Wrong guesses at the codes or the password of a number since the last right one. The subject is a keyed hash of both, with
-- or without an account: nothing in here tells which.
CREATE TABLE wrong_guesses (
    subject           text NOT NULL PRIMARY KEY,
    by_strangers      integer NOT NULL,
    by_known_networks integer NOT NULL,
    last_at           integer NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX wrong_guesses_last_at ON wrong_guesses (last_at);
