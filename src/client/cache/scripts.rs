//! What happens inside Redis, each atomically. Of one cached key `k`: `v:k` its value, `l:k` the lease of who fills it, `w:k`
//! the writers under way (sorted by when they are overdue). Of all: `pending` (writes to be ended by somebody, sorted by when),
//! `after` (a write's token to what standbys must have executed first) and `epoch` (the newest map that a write went by).
//!
//! All but [`OPEN`] begin with KEYS the generation and ARGV its value: an emptied Redis has another one, or none, and answers
//! GONE. Whoever gets that begins anew, as after a restart: marks of writes under way may be lost.
//!
//! A Redis that is full refuses a script's command that needs memory, unless the script has written before. So what takes
//! memory stands first where it may be refused (leases, values), and deletions stand first where it must not be (a writer's mark).

use redis::Script;

/// KEYS generation; ARGV a random value. Answers the generation: `random:ms of Redis' clock when it began`.
const OPEN: &str = r"
local t = redis.call('TIME')
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)), 'NX')
return redis.call('GET', KEYS[1])";

const HERE: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('GONE another generation') end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
";

/// KEYS generation, v, l, w; ARGV generation, token, lease in ms. Answers {1, value}, {2} being written, {3} yours to fill,
/// {4} another fills. A writer that nobody ended for an hour (Redis evicted what said so) is forgotten.
const GET: &str = r"
local v = redis.call('GET', KEYS[2])
if v then return {1, v} end
if redis.call('ZCARD', KEYS[4]) > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now - 3600000)
  if redis.call('ZCARD', KEYS[4]) > 0 then return {2} end
end
if redis.call('SET', KEYS[3], ARGV[2], 'NX', 'PX', ARGV[3]) then return {3} end
return {4}";

/// KEYS generation, v, l, epoch; ARGV generation, token, value, ms, hold in ms, ms while the generation is younger than that,
/// epoch of the reader's map. Answers 1 if the lease was still the token's: a slow reader puts nothing back; nor does one
/// whose map is older than a writer's was: it may have read where the row no longer is.
const FILL: &str = r"
if redis.call('GET', KEYS[3]) ~= ARGV[2] then return 0 end
if tonumber(redis.call('GET', KEYS[4]) or 0) > tonumber(ARGV[7]) then
  redis.call('DEL', KEYS[3])
  return 0
end
local ms, age = tonumber(ARGV[4]), now - tonumber(string.match(ARGV[1], ':(%d+)$'))
if age < tonumber(ARGV[5]) then ms = math.min(ms, tonumber(ARGV[6])) end
redis.call('SET', KEYS[2], ARGV[3], 'PX', ms)
redis.call('DEL', KEYS[3])
return 1";

/// KEYS generation, pending, then v, l, w of each key; ARGV generation, token, hold in ms, then the keys' names.
const BEGIN: &str = r"
local due = now + tonumber(ARGV[3])
for i = 4, #ARGV do
  local at = 3 + (i - 4) * 3
  redis.call('DEL', KEYS[at], KEYS[at + 1])
  redis.call('ZADD', KEYS[at + 2], due, ARGV[2])
  redis.call('PEXPIRE', KEYS[at + 2], 86400000)
  redis.call('ZADD', KEYS[2], due, ARGV[2] .. '|' .. ARGV[i])
end
redis.call('PEXPIRE', KEYS[2], 86400000)
return 1";

/// KEYS generation, pending, after, epoch, then v, l, w of each key; ARGV generation, token, epoch, then the keys' names.
const END: &str = r"
for i = 4, #ARGV do
  local at = 5 + (i - 4) * 3
  redis.call('DEL', KEYS[at], KEYS[at + 1])
  redis.call('ZREM', KEYS[at + 2], ARGV[2])
  redis.call('ZREM', KEYS[2], ARGV[2] .. '|' .. ARGV[i])
end
redis.call('HDEL', KEYS[3], ARGV[2])
if tonumber(redis.call('GET', KEYS[4]) or 0) < tonumber(ARGV[3]) then redis.call('SET', KEYS[4], ARGV[3]) end
return 1";

/// KEYS generation, pending, after; ARGV generation, token, what must be executed first, then the keys' names: due now, to be
/// ended by the sweeper.
const DEFER: &str = r"
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
redis.call('PEXPIRE', KEYS[3], 86400000)
for i = 4, #ARGV do redis.call('ZADD', KEYS[2], now, ARGV[2] .. '|' .. ARGV[i]) end
return 1";

/// KEYS generation, then any; ARGV generation. Answers 1.
const DELETE: &str = r"
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 1";

/// KEYS generation, pending, after; ARGV generation, ms until they are looked at again, how many. Takes due entries:
/// {entry, after or ''}, …
const DUE: &str = r"
local due, out = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[3]), {}
for _, entry in ipairs(due) do
  redis.call('ZADD', KEYS[2], now + ARGV[2], entry)
  out[#out + 1] = entry
  out[#out + 1] = redis.call('HGET', KEYS[3], string.match(entry, '^[^|]*')) or ''
end
return out";

pub(super) struct Scripts {
    pub(super) get: Script,
    pub(super) fill: Script,
    pub(super) begin: Script,
    pub(super) end: Script,
    pub(super) defer: Script,
    pub(super) delete: Script,
    pub(super) due: Script,
}

/// A script that refuses another generation than its first argument's, and has the time as `now`.
pub(super) fn here(script: &str) -> Script {
    Script::new(&format!("{HERE}{script}"))
}

pub(super) fn open() -> Script {
    Script::new(OPEN)
}

impl Default for Scripts {
    fn default() -> Self {
        let [get, fill, begin, end, defer, delete, due] = [GET, FILL, BEGIN, END, DEFER, DELETE, DUE].map(here);
        Self { get, fill, begin, end, defer, delete, due }
    }
}
