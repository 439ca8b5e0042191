-- A deleted user keeps the row without the number, so that the number is free again: hence a null mobile.
CREATE TABLE users (
    id            uuid PRIMARY KEY,
    mobile        text UNIQUE,
    name          text NOT NULL,
    avatar_url    text,
    password_hash text,
    status        text NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    last_login    timestamptz NOT NULL
);

-- No foreign key: rows of users are never deleted, so it would guard against nothing and cost a look-up per sign-in.
CREATE TABLE sessions (
    id              uuid PRIMARY KEY,
    user_id         uuid NOT NULL,
    amr             text NOT NULL,
    refresh_counter integer NOT NULL,
    created_at      timestamptz NOT NULL,
    refreshed_at    timestamptz,
    expires_at      timestamptz NOT NULL,
    revoked_at      timestamptz,
    ip              text,
    user_agent      text
);

CREATE INDEX sessions_user_id ON sessions (user_id);
CREATE INDEX sessions_expires_at ON sessions (expires_at);
CREATE INDEX sessions_revoked_at ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;

CREATE TABLE settings (
    name  text PRIMARY KEY,
    value text NOT NULL
);
