//! The scripts that touch a code.
//!
//! A code is a hash: `digest`, `tries` of each asker and known device, `others` (tries left to all others), `sender`
//! (the asker whose message was sent), `flows` (the keys of its message's flows, one a line), for each asker `a:` and
//! its name with the tries left and when it asked, and for each known device `k:` and its name with the tries left. One
//! that is used up has, for the life that is left, `used` (the digest that was presented) and `issued` in place of
//! `digest`. What was in the place of a code stays as it was, for the life that it had, under the key of the code and
//! `:former`. With `falls_back`, the digest there is right, too.

use std::sync::LazyLock;

use fred::types::scripts::Script;

use super::{super::super::ASKERS, script};

const CODES: &str = "
    -- The fields of a hash by name.
    local function by_name(fields)
        local named = {}
        for i = 1, #fields, 2 do named[fields[i]] = fields[i + 1] end
        return named
    end

    -- The asker that a field of a code is of: its tries left and when it asked.
    local function asker(field, value)
        if string.sub(field, 1, 2) ~= 'a:' then return end
        local tries, at = string.match(value, '^(%d+) (%d+)$')
        return tonumber(tries), tonumber(at)
    end

    -- Puts a code, or what is left of one, into a place.
    local function put(key, fields, life)
        redis.call('DEL', key)
        redis.call('HSET', key, unpack(fields))
        redis.call('PEXPIRE', key, life)
    end

    -- Adds one that asked later. A fresh set of tries for each would let a crowd try without end.
    local function join(code, name, asked_at)
        local fields = redis.call('HGETALL', code)
        local stored, own, askers, oldest = by_name(fields), 'a:' .. name, 0, nil
        if not stored.digest then return end
        local function put_own(tries) redis.call('HSET', code, own, string.format('%d %.0f', tries, asked_at)) end
        for i = 1, #fields, 2 do
            local tries, at = asker(fields[i], fields[i + 1])
            if tries and fields[i] == own then
                put_own(tries)
                return
            end
            if tries then
                askers = askers + 1
                local may_go = tries > 0 and fields[i] ~= 'a:' .. stored.sender
                if may_go and not (oldest and oldest.at <= at) then
                    oldest = {field = fields[i], tries = tries, at = at}
                end
            end
        end
        if askers < ASKERS then
            put_own(tonumber(stored.tries))
        elseif oldest then
            redis.call('HDEL', code, oldest.field)
            put_own(oldest.tries)
        end
    end
";

fn code_script(body: &str) -> Script {
    script(&format!("local ASKERS, FORMER = {ASKERS}, ':former' {CODES} {body}"))
}

/// `KEYS`: a tally, the code if there is one. `ARGV`: now, the numbers of counters and flows, 0 if suspicion is an
/// obstacle (1: it is none, 2: nothing is admitted), the id, the tally; for a code: digest, tries, milliseconds, asker,
/// flows, the place of the counter of the gap. Returns what [`SURVEY`](super::SURVEY) does.
pub static ISSUE: LazyLock<Script> = LazyLock::new(|| {
    code_script(
        "local now, n, m, trusted, id = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
         local code, arg = KEYS[n + m + 1], 6 + n + m

         -- Puts the code in the place of another, and keeps those that asked for that one within the life of this.
         local function issue(digest, tries, life, sender, flows)
             local own, others = 'a:' .. sender, {}
             local before = redis.call('HGETALL', code)
             local stored = by_name(before)
             for i = 1, #before, 2 do
                 local _, at = asker(before[i], before[i + 1])
                 if at and stored.digest and before[i] ~= own and at + life > now then others[#others + 1] = {before[i], at} end
             end
             table.sort(others, function(a, b) return a[2] > b[2] end)
             local fields = {'digest', digest, 'tries', tries, 'others', tries, 'sender', sender, 'flows', flows,
                 own, tries .. ' ' .. ARGV[1]}
             for i = 1, math.min(#others, ASKERS - 1) do
                 fields[#fields + 1] = others[i][1]
                 fields[#fields + 1] = string.format('%s %.0f', tries, others[i][2])
             end
             if #before == 0 then
                 redis.call('DEL', code .. FORMER)
             elseif not stored.falls_back then
                 put(code .. FORMER, before, redis.call('PTTL', code))
             end
             put(code, fields, life)
         end

         local refusing, wait, suspicious, refusals = survey(1, 6, n, m, now)
         local admitted = refusing == -1 and (trusted == '1' or trusted == '0' and suspicious == -1)
         count(1, 6, n, m, id, now, admitted)
         if code and admitted then
             issue(ARGV[arg], ARGV[arg + 1], tonumber(ARGV[arg + 2]), ARGV[arg + 3], ARGV[arg + 4])
         elseif code and refusals == 1 and refusing == tonumber(ARGV[arg + 5]) then
             join(code, ARGV[arg + 3], now)
         end
         return {refusing, wait, suspicious}",
    )
});

/// `KEYS`: code. `ARGV`: digest.
pub static WITHDRAW: LazyLock<Script> = LazyLock::new(|| {
    code_script(
        "local code, former = KEYS[1], KEYS[1] .. FORMER
         if redis.call('HGET', code, 'digest') ~= ARGV[1] then
             -- Not put back either when the one in its place is withdrawn.
             if redis.call('HGET', former, 'digest') == ARGV[1] then redis.call('DEL', former) end
             return 0
         end
         local fields, before, askers = redis.call('HGETALL', code), redis.call('HGETALL', former), {}
         if #before == 0 then return redis.call('DEL', code) end
         put(code, before, redis.call('PTTL', former))
         redis.call('DEL', former)
         for i = 1, #fields, 2 do
             local _, at = asker(fields[i], fields[i + 1])
             if at then askers[#askers + 1] = {string.sub(fields[i], 3), at} end
         end
         table.sort(askers, function(a, b) return a[2] < b[2] end)
         for _, other in ipairs(askers) do join(code, other[1], other[2]) end
         return 1",
    )
});

/// `KEYS`: code. `ARGV`: digest.
pub static FALL_BACK: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        "if redis.call('HGET', KEYS[1], 'digest') == ARGV[1] then redis.call('HSET', KEYS[1], 'falls_back', 1) end
         return 0",
    )
});

/// Attempts, one after the other. `KEYS` of each: code, the counter of unredeemed codes, replay, the counters of the
/// guess (of an asker, who counts none, the one to clear) and of the sign-in. `ARGV`: one text, a line each: 1 to count in
/// the flows, too; of each attempt: the numbers of those two, now, presenter (0 asker, 1 other, 2 known device), its names or nothing, digest, fixed
/// digest or nothing, value and milliseconds of the replay or nothing, ids of the two, counters. Returns of each the
/// outcome, two numbers, a text and a list: 1 accepted (the flows; the wrong guesses cleared), 0 wrong (tries left), -1
/// nothing to guess at, -2 refused (counter, milliseconds), 2 repeated (the value of the replay), -3 failed (the reason),
/// -4 no asker, -5 the tries of all others used up (milliseconds), -6 used by this very digest: one that fails leaves
/// the others alone.
///
/// The comparison needs no constant time: both sides are keyed hashes that no caller can steer.
pub static REDEEM: LazyLock<Script> = LazyLock::new(|| {
    code_script(
        "local KEYS_BEFORE_COUNTERS, ARGS_BEFORE_COUNTERS = 3, 12
         local lines = 0
         for line in string.gmatch(ARGV[1], '([^\\n]*)\\n') do
             lines = lines + 1
             ARGV[lines] = line
         end

         local ASKER, OTHER = '0', '1'

         -- The field that has the tries of a presenter, and how many are left.
         local function tries_of(stored, presenter, names)
             if presenter == OTHER then return 'others', tonumber(stored.others) end
             if presenter ~= ASKER then
                 local field = 'k:' .. names[1]
                 return field, tonumber(stored[field] or stored.tries)
             end
             for _, name in ipairs(names) do
                 local field = 'a:' .. name
                 if stored[field] then return field, (asker(field, stored[field])) end
             end
         end

         -- Uses up a try. The last one of the last asker burns the code.
         local function use_try(code, stored, presenter, field, tries)
             if presenter ~= ASKER then
                 redis.call('HSET', code, field, tries - 1)
                 return
             end
             local _, at = asker(field, stored[field])
             stored[field] = string.format('%d %.0f', tries - 1, at)
             for name, value in pairs(stored) do
                 local left = asker(name, value)
                 if left and left > 0 then
                     redis.call('HSET', code, field, stored[field])
                     return
                 end
             end
             redis.call('DEL', code)
         end

         local function redeem(key, arg, n, at_sign_in)
             local code, unredeemed, replay = KEYS[key], KEYS[key + 1], KEYS[key + 2]
             local now, presenter, names = tonumber(ARGV[arg + 2]), ARGV[arg + 3], {ARGV[arg + 4], ARGV[arg + 5]}
             local digest, fixed, value = ARGV[arg + 6], ARGV[arg + 7], ARGV[arg + 8]
             key, arg = key + KEYS_BEFORE_COUNTERS, arg + ARGS_BEFORE_COUNTERS
             local life, guess_id, sign_in_id = ARGV[arg - 3], ARGV[arg - 2], ARGV[arg - 1]

             if value ~= '' then
                 local kept = redis.call('GET', replay)
                 if kept then return {2, 0, 0, kept, {}} end
             end

             local function refusal(first, counters)
                 local refusing, wait = survey(key + first, arg + first, counters, 0, now)
                 return refusing ~= -1 and {-2, first + refusing, wait, '', {}}
             end
             -- Hardly any mobile has wrong guesses: one look tells, and saves the others.
             local function guessed()
                 return n > 0 and redis.call('EXISTS', unpack(KEYS, key, key + n - 1)) > 0
             end

             if presenter ~= ASKER then
                 local refused = guessed() and refusal(0, n)
                 if refused then return refused end
             end
             local right, stored, field, tries = fixed, nil, nil, 1
             if fixed == '' then
                 stored = by_name(redis.call('HGETALL', code))
                 right, tries = stored.digest, 0
                 if stored.used == digest then return {-6, 0, 0, '', {}} end
                 if right then
                     if stored.falls_back and redis.call('HGET', code .. FORMER, 'digest') == digest then
                         right = digest
                     end
                     field, tries = tries_of(stored, presenter, names)
                     if not field then return {-4, 0, 0, '', {}} end
                     if tries == 0 and presenter == OTHER then
                         return {-5, 0, redis.call('PTTL', code), '', {}}
                     end
                 end
             end
             if tries == 0 then return {-1, 0, 0, '', {}} end
             local refused = refusal(n, at_sign_in)
             if refused then return refused end

             if right ~= digest then
                 if presenter ~= ASKER then count(key, arg, n, 0, guess_id, now, true) end
                 if stored then use_try(code, stored, presenter, field, tries) end
                 return {0, tries - 1, 0, '', {}}
             end
             local cleared = stored and guessed() and clear(key, n) or {}
             redis.call('DEL', unredeemed)
             if stored then
                 redis.call('HDEL', code, 'digest')
                 redis.call('HSET', code, 'used', digest, 'issued', stored.digest)
             end
             count(key + n, arg + n, at_sign_in, 0, sign_in_id, now, true)
             if stored and ARGV[1] == '1' then
                 for flow in string.gmatch(stored.flows, '[^\\n]+') do add_redeemed(flow, now, 1) end
             end
             if value ~= '' then redis.call('SET', replay, value, 'PX', life) end
             return {1, 0, 0, stored and stored.flows or '', cleared}
         end

         local outcomes, key, arg = {}, 1, 2
         while KEYS[key] do
             local guess, sign_in = tonumber(ARGV[arg]), tonumber(ARGV[arg + 1])
             local done, outcome = pcall(redeem, key, arg, guess, sign_in)
             local reason = type(outcome) == 'table' and outcome.err or outcome
             -- The server is no primary any more, and whoever is connected has to hear of it.
             if not done and tostring(reason):find('^READONLY') then return redis.error_reply(reason) end
             outcomes[#outcomes + 1] = done and outcome or {-3, 0, 0, tostring(reason), {}}
             local n = guess + sign_in
             key, arg = key + KEYS_BEFORE_COUNTERS + n, arg + ARGS_BEFORE_COUNTERS + n
         end
         return outcomes",
    )
});

/// `KEYS`: code, replay, the counters of the sign-in. `ARGV`: 1 to count in the flows, too, now, the id, the digest that
/// used the code up, its flows, counters.
pub static RESTORE: LazyLock<Script> = LazyLock::new(|| {
    code_script(
        "local now, n = tonumber(ARGV[2]), #KEYS - 2
         redis.call('DEL', KEYS[2])
         uncount(3, 6, n, 0, ARGV[3], now)
         if ARGV[1] == '1' then
             for flow in string.gmatch(ARGV[5], '[^\\n]+') do add_redeemed(flow, now, -1) end
         end
         if redis.call('HGET', KEYS[1], 'used') == ARGV[4] then
             redis.call('HSET', KEYS[1], 'digest', redis.call('HGET', KEYS[1], 'issued'))
             redis.call('HDEL', KEYS[1], 'used', 'issued')
         end
         return 0",
    )
});
