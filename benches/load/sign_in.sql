-- One statement per sign-in of a user who is there: what src/store/users/postgres/sessions.rs sends for one request.
-- Given: run, first_mobile, users, n (0; counts on within a client).
\set n :n + 1
\set id :n * 64 + :client_id
\set mobile random(:first_mobile, :first_mobile + :users - 1)
WITH signed_in AS (
    INSERT INTO users (id, mobile, name, status, created_at, updated_at, last_login)
    VALUES ((:run || lpad(to_hex(:id::bigint), 12, '0'))::uuid, :mobile::bigint::text, :mobile::bigint::text,
            'active', now(), now(), now())
    ON CONFLICT (mobile) DO UPDATE
    SET last_login = CASE WHEN users.status = 'active' THEN now() ELSE users.last_login END
    RETURNING *
), opened AS (
    INSERT INTO sessions (id, user_id, amr, refresh_counter, created_at, expires_at, ip, user_agent)
    SELECT (:run || lpad(to_hex(:id::bigint), 12, '0'))::uuid, id, 'sms', 0, now(), now() + interval '14 days', '10.123.145.167',
           'Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1'
    FROM signed_in WHERE status = 'active'
    ON CONFLICT (id) DO NOTHING
)
SELECT * FROM signed_in;
