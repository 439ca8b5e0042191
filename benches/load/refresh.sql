-- One statement per refresh: what src/store/users/postgres/sessions.rs sends. Each client goes round its own sessions,
-- so that it knows their counter.
-- Given: run, sessions, clients, n (-1; counts on within a client).
\set n :n + 1
\set per_client :sessions / :clients
\set session :client_id + :clients * (:n % :per_client)
\set counter :n / :per_client
UPDATE sessions s
SET refresh_counter = :counter::integer + 1,
    refreshed_at = now(),
    expires_at = least(now() + interval '14 days', s.created_at + interval '90 days')
FROM users u
WHERE s.id = (:run || lpad(to_hex(:session::bigint), 12, '0'))::uuid
  AND s.revoked_at IS NULL AND s.expires_at > now() AND s.refresh_counter - :counter::integer IN (0, 1)
  AND u.id = s.user_id AND u.status = 'active'
RETURNING s.*;
