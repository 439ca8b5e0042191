-- IF NOT EXISTS: on large tables, operators add these columns and indexes beforehand while users sign in.
ALTER TABLE users
    -- The user's sessions that began before this have been ended, except one.
    ADD COLUMN IF NOT EXISTS sessions_valid_from timestamptz,
    ADD COLUMN IF NOT EXISTS kept_session_id uuid,
    -- When that was last set, by the clock of the database: instances ask for what is new.
    ADD COLUMN IF NOT EXISTS sessions_ended_at timestamptz,
    -- No more sessions live than this says: counted up by sign-ins, set right when it exceeds what an account may have.
    ADD COLUMN IF NOT EXISTS sessions_opened integer NOT NULL DEFAULT 0;

ALTER TABLE sessions
    ADD COLUMN IF NOT EXISTS device_hash text,
    ADD COLUMN IF NOT EXISTS device_name text,
    ADD COLUMN IF NOT EXISTS platform text,
    ADD COLUMN IF NOT EXISTS last_ip text,
    ADD COLUMN IF NOT EXISTS last_user_agent text,
    -- Why revoked_at is set.
    ADD COLUMN IF NOT EXISTS ended_by text;

CREATE INDEX IF NOT EXISTS users_sessions_ended_at ON users (sessions_ended_at) WHERE sessions_ended_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS sessions_user_id_created_at ON sessions (user_id, created_at);
CREATE INDEX IF NOT EXISTS sessions_distrusted ON sessions (expires_at)
    WHERE revoked_at IS NOT NULL AND coalesce(ended_by, '') NOT IN ('sign_out', 'limit');
-- The index on two columns does what it did.
DROP INDEX IF EXISTS sessions_user_id;

-- Wrong guesses at the codes or the password of a number since the last right one. The subject is a keyed hash of both, with
-- or without an account: nothing in here tells which.
CREATE TABLE wrong_guesses (
    subject           text PRIMARY KEY,
    by_strangers      integer NOT NULL,
    by_known_networks integer NOT NULL,
    last_at           timestamptz NOT NULL
);

CREATE INDEX wrong_guesses_last_at ON wrong_guesses (last_at);
