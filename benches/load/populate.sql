-- Users with consecutive mobiles, in the order in which they came here, as rows of a service of some age.
-- Given: users, password_hash (what every fourth user has).
INSERT INTO users (id, mobile, name, avatar_url, password_hash, status, created_at, updated_at, last_login)
SELECT ('01980000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid,
       (13000000000 + i)::text,
       CASE WHEN i % 3 = 0 THEN '用户' || i ELSE (13000000000 + i)::text END,
       CASE WHEN i % 5 = 0 THEN 'https://cdn.example.com/avatars/' || md5(i::text) || '.jpg' END,
       CASE WHEN i % 4 = 0 THEN :'password_hash' END,
       'active',
       now() - interval '400 days' + interval '300 days' * (i::float8 / :users),
       now() - interval '400 days' + interval '300 days' * (i::float8 / :users),
       now() - random() * interval '90 days'
FROM generate_series(0::bigint, :users - 1) AS i;

-- Enough of them that statistics know what the table looks like.
INSERT INTO sessions (id, user_id, amr, refresh_counter, created_at, expires_at, ip, user_agent)
SELECT ('01990000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid,
       ('01980000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid,
       'sms', 0, now() - interval '1 hour', now() + interval '14 days', '10.123.145.167',
       'Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1'
FROM generate_series(0::bigint, least(20000, :users) - 1) AS i;

VACUUM ANALYZE users;
VACUUM ANALYZE sessions;
