//! The live page in a real Chromium, over states that the test tells: seconds, no cluster.
//!
//! Needs Debian's chromium and chromium-driver (`tests/run page` installs them). Pictures of what was seen are left in
//! target/test-logs/page; UPDATE_PICTURES=1 puts them into docs/page.

mod browser;
mod served;
#[allow(dead_code, reason = "made for the plugin's tests")]
#[path = "../pure/plugin/world.rs"]
mod world;

use browser::{Browser, http};
use serde_json::{Value, json};
use served::{Served, World, ago, picture};
use world::{condition, lost, solo, with};

fn opened(world: &World) -> (Served, Browser) {
    let (served, browser) = (Served::start(world), Browser::start());
    browser.open(&served.url());
    browser.until("the pairs", &format!("document.querySelectorAll('.cluster:not(.trouble) .unit').length === {}", world.pairs.len()));
    (served, browser)
}

/// No request to elsewhere, no violation of the policy, no error of a script.
fn is_quiet(browser: &Browser, served: &Served) {
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "{complaints:#?}");
    let asked = browser.js("return performance.getEntriesByType('resource').map(e => e.name)");
    let asked: Vec<&str> = asked.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(asked.len() > 4 && asked.iter().all(|a| a.starts_with(&served.url())), "{asked:?}");
}

/// Nothing is cut off at the side, no text of a picture is wider than its box.
fn fits(browser: &Browser) {
    let wide = browser.js("const e = document.scrollingElement; return [e.scrollWidth, e.clientWidth]");
    assert!(wide[0].as_f64() <= wide[1].as_f64(), "wider than the window: {wide}");
    let cut = browser.js(
        "const out = []; for (const g of document.querySelectorAll('.server')) { const box = g.querySelector('rect').getBoundingClientRect();
         for (const t of g.querySelectorAll('text')) { const r = t.getBoundingClientRect(); if (r.right > box.right + 1 || r.left < box.left) out.push(t.textContent); } }
         for (const t of document.querySelectorAll('.tile b')) if (t.scrollWidth > t.clientWidth + 1) out.push(t.textContent); return out",
    );
    assert_eq!(cut, json!([]), "wider than its box");
}

/// Failing over, the old primary gone.
fn failing_over(pair: &shardpair::api::ShardPair) -> shardpair::api::ShardPair {
    with(&world::failing_over(pair), json!({"status": {"transition": {"startedAt": ago(1)}}}))
}

/// The standby has taken over, and the pair is in Sync again.
fn failed_over(pair: &shardpair::api::ShardPair) -> shardpair::api::ShardPair {
    let record = pair.status.clone().unwrap_or_default().record;
    let (from, to) = (record.primary, record.standby.expect("a standby"));
    let well = ["Ready", "Available", "Redundant"].map(|c| condition(c, "True", "InSync", "", "02:00:00"));
    with(pair, json!({"status": {
        "primary": to, "standby": from, "mode": "Sync", "epoch": 9, "transition": null, "conditions": well,
        "lastMove": {"kind": "Failover", "from": from, "to": to, "at": ago(0), "seconds": 0.213, "reason": "ProcessGone"},
    }}))
}

#[test]
fn three_pairs_are_pictures_and_a_failover_is_followed() {
    let mut world = World::of(3);
    let (served, browser) = opened(&world);
    assert_eq!(browser.js("return document.querySelectorAll('.card .picture').length"), 3);
    assert_eq!(browser.text("[data-pair='default/shop-1'] .server.open .name"), "shop-m2");
    fits(&browser);
    browser.size(1360, 590, false);
    browser.screenshot(&picture("three-light"));
    // Focus stays where it is when the picture under it changes.
    browser.js("document.querySelector('[data-pair=\"default/shop-1\"]').focus()");
    world.change(1, failing_over);
    served.tell(&world);
    browser.until("the standby takes over", "document.querySelector('[data-pair=\"default/shop-1\"] .server.taking .name')?.textContent === 'shop-m3'");
    assert_eq!(browser.js("return document.activeElement.dataset.pair"), "default/shop-1");
    assert!(browser.text("#counts .down").contains("1 no writes") && browser.js("return document.title").as_str().is_some_and(|t| t.starts_with("1 without writes")));
    browser.screenshot(&picture("failover"));
    world.change(1, failed_over);
    served.tell(&world);
    browser.until("another primary", "document.querySelector('[data-pair=\"default/shop-1\"] .server.open .name')?.textContent === 'shop-m3'");
    let seen = browser.text("#seen");
    assert!(seen.contains("Failover to shop-m3 begins: ProcessGone") && seen.contains("primary shop-m2 → shop-m3"), "{seen}");
    assert!(browser.text("#moves tr").contains("shop-m2 → shop-m3213 ms"), "{}", browser.text("#moves"));
    assert_eq!(browser.js("return document.querySelectorAll('#line .mark.failover').length").as_i64(), Some(1));
    is_quiet(&browser, &served);
}

#[test]
fn two_hundred_pairs_are_readable_and_what_is_wrong_comes_first() {
    let mut world = World::of(200);
    for (shard, change) in [(17, solo as fn(&_) -> _), (58, failing_over), (141, lost)] {
        world.change(shard, change);
    }
    world.change(90, |p| with(p, json!({"status": {"lagSeconds": 15, "members": [{"name": "shop-m180", "node": "worker-1"}, {"name": "shop-m181", "node": "worker-2", "lagSeconds": 15, "behindTransactions": 10_000}]}})));
    let (served, browser) = opened(&world);
    let first = browser.js("return [...document.querySelectorAll('main > section:first-child .unit')].map(u => u.dataset.pair)");
    assert_eq!(first, json!(["default/shop-17", "default/shop-58", "default/shop-141"]));
    for (width, height, dark, name) in [(1500, 1000, true, "many-dark"), (1500, 1000, false, "many-light"), (900, 900, false, "many-narrow"), (400, 900, true, "many-phone")] {
        browser.size(width, height, dark);
        browser.until("the line of time fits", "document.getElementById('line').viewBox.baseVal.width === Math.max(300, document.getElementById('line').clientWidth)");
        fits(&browser);
        browser.screenshot(&picture(name));
    }
    // A change makes one tile anew, not two hundred.
    browser.js("document.querySelectorAll('.unit').forEach(u => u.old = true)");
    world.change(33, |p| with(p, json!({"status": {"epoch": 8}})));
    served.tell(&world);
    browser.until("the change", "document.querySelectorAll('.unit').length && [...document.querySelectorAll('.unit')].some(u => !u.old)");
    assert_eq!(browser.js("return [...document.querySelectorAll('.unit')].filter(u => !u.old).map(u => u.dataset.pair)"), json!(["default/shop-33"]));
    is_quiet(&browser, &served);
}

#[test]
fn everything_can_be_done_with_the_keys() {
    let mut world = World::of(200);
    world.change(141, lost);
    let (_served, browser) = opened(&world);
    browser.size(1500, 1000, false);
    // All pairs are one stop of the Tab key.
    assert_eq!(browser.js("return [...document.querySelectorAll('.unit')].filter(u => u.tabIndex === 0).length"), 1);
    let mut steps = 0;
    while browser.js("return document.activeElement.classList.contains('unit')") != json!(true) {
        browser.press(&["Tab"]);
        steps += 1;
        assert!(steps < 14, "Tab doesn't come to the pairs: {}", browser.js("return document.activeElement.outerHTML"));
    }
    browser.js("document.querySelector('.cluster.small .unit').focus()");
    browser.press(&["Right", "Down"]);
    let (place, other) = (
        "const r = u => u.getBoundingClientRect(), a = document.activeElement; const all = [...document.querySelectorAll('.cluster.small .unit')];",
        "const up = all[1]; return [r(a).left === r(up).left, r(a).top > r(up).top, all.indexOf(a) < 20]",
    );
    assert_eq!(browser.js(&format!("{place}{other}")), json!([true, true, true]));
    browser.press(&["n"]);
    assert_eq!(browser.js("return document.activeElement.dataset.pair"), "default/shop-141");
    browser.press(&["Enter"]);
    browser.until("the closer look", "!document.getElementById('detail').hidden");
    let detail = browser.text("#detail");
    assert!(detail.contains("kubectl shardpair -n default explain shop-141") && detail.contains("What to do:") && detail.contains("may lack acknowledged writes"), "{detail}");
    assert_eq!(browser.js("return document.activeElement.getAttribute('aria-expanded')"), "true");
    fits(&browser);
    browser.screenshot(&picture("detail"));
    browser.press(&["Escape"]);
    assert_eq!(browser.js("return [document.getElementById('detail').hidden, document.activeElement.dataset.pair]"), json!([true, "default/shop-141"]));
    browser.press(&["/", "s", "h", "o", "p", "-", "m", "6", "7"]);
    browser.until("what was asked for", "document.querySelectorAll('.unit').length === 1 && document.querySelector('.unit').dataset.pair === 'default/shop-33'");
    browser.press(&["Escape"]);
    browser.until("all again", "document.querySelectorAll('.cluster.small .unit').length === 200");
    browser.js("document.querySelector('.count.down').focus()");
    browser.press(&["Enter"]);
    browser.until("only what has no writes", "document.querySelectorAll('.unit').length === 1");
    assert_eq!(browser.js("return document.activeElement.getAttribute('aria-pressed')"), "true");
}

#[test]
fn a_split_is_one_picture_with_its_phases() {
    let mut world = World::of(4);
    let split = |role: &str, other: &str| json!({"plan": "shop-to-4", "role": role, "other": other, "until": "Flipped"});
    world.change(0, |p| with(p, json!({"spec": {"split": split("Parent", "shop-2")}, "status": {"linked": {"pair": "shop-2"}, "split": {"state": "Flipped", "link": "Standing", "pauseSeconds": 0.031}}})));
    world.change(2, |p| with(p, json!({"spec": {"split": split("Child", "shop-0")}, "status": {"linked": {"pair": "shop-0"}, "split": {"state": "Flipped", "link": "Standing", "pauseSeconds": 0.031}}})));
    world.change(1, |p| with(p, json!({"spec": {"split": split("Parent", "shop-3")}, "status": {"split": {"state": "Preparing", "link": "Absent"}}})));
    let following = ["Ready", "Available", "Redundant"].map(|c| condition(c, "True", "Following", "", "02:00:00"));
    world.change(3, |p| with(p, json!({"spec": {"split": split("Child", "shop-1")}, "status": {"follows": {"pair": "shop-1"}, "conditions": following, "split": {"state": "Prepared", "link": "Absent"}}})));
    world.plans.push(world::plan(json!({"spec": {"until": "Flipped"}, "status": {
        "phase": "Prepared", "conditions": [condition("Progressing", "True", "Flipping", "1 of 2 shards have flipped", "02:00:00")],
        "shards": [
            {"shard": 0, "newShard": 2, "phase": "Flipped", "pauseSeconds": 0.031, "misroutedRows": 0},
            {"shard": 1, "newShard": 3, "phase": "Preflight", "clone": {"member": "shop-m7", "bytesDone": 630, "bytesEstimated": 1000, "etaSeconds": 240}},
        ],
    }})));
    let (served, browser) = opened(&world);
    assert_eq!(browser.js("return [...document.querySelectorAll('.frame')].map(f => [...f.querySelectorAll('.unit')].map(u => u.dataset.pair.split('/')[1]).join(' ') + ' ' + f.querySelector('.tie').classList[1])"), json!(["shop-0 shop-2 linked", "shop-1 shop-3 follows"]));
    assert_eq!(browser.js("return [...document.querySelectorAll('.steps li')].map(l => l.className)"), json!(["done", "done", "now", "beyond", "beyond"]));
    let plan = browser.text(".plan");
    assert!(plan.contains("31 ms") && plan.contains("63 % cloned, 4 min left") && plan.contains("1 of 2 shards have flipped"), "{plan}");
    fits(&browser);
    browser.size(1360, 900, false);
    browser.screenshot(&picture("split"));
    browser.size(1360, 900, true);
    browser.screenshot(&picture("split-dark"));
    world.plans[0] = with(&world.plans[0], json!({"status": {"phase": "Flipped", "conditions": [condition("Progressing", "False", "AwaitingApproval", "kubectl shardpair approve shop-to-4 goes on", "02:00:00")]}}));
    served.tell(&world);
    browser.until("the next phase", "document.querySelectorAll('.steps .done').length === 3 && document.querySelectorAll('.steps .now').length === 0");
    is_quiet(&browser, &served);
}

/// Half-way through a plan: what its phase is, what it says, and its one shard.
fn at(phase: Option<&str>, said: (&str, &str), shard: serde_json::Value) -> serde_json::Value {
    let complete = phase == Some("Complete");
    json!({"spec": {"toShards": 2, "until": "Complete"}, "status": {"phase": phase, "shards": [shard], "conditions": [
        condition("Progressing", if complete { "False" } else { "True" }, said.0, said.1, "02:00:00"),
        condition("Complete", if complete { "True" } else { "False" }, said.0, said.1, "02:00:00"),
    ]}})
}

/// One page stays open from the clone to the end; each step is a message, as the operator sends it.
#[test]
fn a_split_is_followed_live_from_its_clone_to_its_end() {
    let mut world = World::of(1);
    let (served, browser) = opened(&world);
    browser.size(1360, 900, false);
    browser.js("window.sameDocument = true");
    let steps = "JSON.stringify([...document.querySelectorAll('.steps li')].map(l => l.className))";
    let shows = |what: &str, expected: [&str; 5]| browser.until(what, &format!("{steps} === '{}'", json!(expected)));
    // The new pair is there, its data on the way.
    let split = |role: &str, other: &str| json!({"plan": "shop-to-2", "role": role, "other": other, "until": "Purged"});
    world.change(0, |p| with(p, json!({"spec": {"split": split("Parent", "shop-1")}, "status": {"split": {"state": "Preparing", "link": "Absent"}}})));
    let following = ["Ready", "Available", "Redundant"].map(|c| condition(c, "True", "Following", "", "02:00:00"));
    world.pairs.push(with(&World::of(2).pairs[1], json!({"spec": {"split": split("Child", "shop-0")}, "status": {"follows": {"pair": "shop-0"}, "conditions": following, "split": {"state": "Preparing", "link": "Absent"}}})));
    let plan = world::plan(json!({"metadata": {"name": "shop-to-2"}}));
    world.plans.push(with(&plan, at(Some("Preflight"), ("Preparing", "shop-1 is cloned"), json!({"shard": 0, "newShard": 1, "phase": "Preflight", "clone": {"member": "shop-m2", "bytesDone": 370, "bytesEstimated": 1000, "etaSeconds": 90}}))));
    served.tell(&world);
    browser.until("the new pair beside the old one, following it", "document.querySelectorAll('.frame .unit').length === 2 && document.querySelector('.frame .tie').classList.contains('follows')");
    assert_eq!(browser.js("return [...document.querySelectorAll('.frame .server.open .name')].map(n => n.textContent)"), json!(["shop-m0"]), "the new pair takes no writes yet");
    assert_eq!(browser.text("[data-pair='default/shop-1'] .badge"), "✓follows");
    shows("the clone", ["done", "now", "later", "later", "later"]);
    assert!(browser.text(".plan").contains("37 % cloned"), "{}", browser.text(".plan"));
    fits(&browser);
    browser.screenshot(&picture("split-clone"));
    // Keys have moved; both sides are primaries now, linked.
    world.change(0, |p| with(p, json!({"status": {"linked": {"pair": "shop-1"}, "split": {"state": "Flipped", "link": "Standing", "pauseSeconds": 0.024}}})));
    let well = ["Ready", "Available", "Redundant"].map(|c| condition(c, "True", "InSync", "", "02:00:00"));
    world.change(1, |p| with(p, json!({"status": {"follows": null, "linked": {"pair": "shop-0"}, "conditions": well, "split": {"state": "Flipped", "link": "Standing", "pauseSeconds": 0.024}}})));
    world.plans[0] = with(&plan, at(Some("Flipped"), ("ReverseWindow", "the way back is kept for 2 s"), json!({"shard": 0, "newShard": 1, "phase": "Flipped", "pauseSeconds": 0.024, "misroutedRows": 0})));
    served.tell(&world);
    browser.until("the link of two primaries", "document.querySelector('.frame .tie')?.classList.contains('linked')");
    shows("the flip", ["done", "done", "done", "now", "later"]);
    assert!(browser.text(".plan").contains("24 ms"), "{}", browser.text(".plan"));
    browser.screenshot(&picture("split-flipped"));
    // The link is gone, each side deletes what isn't its own.
    world.change(0, |p| with(p, json!({"status": {"linked": null, "severed": {"pair": "shop-1", "reason": "Dissolved", "proven": true}, "split": {"state": "Dissolved", "link": "Absent"}}})));
    world.change(1, |p| with(p, json!({"status": {"linked": null, "severed": {"pair": "shop-0", "reason": "Dissolved", "proven": true}, "split": {"state": "Dissolved", "link": "Absent"}}})));
    world.plans[0] = with(&plan, at(Some("Dissolved"), ("Purging", "rows that moved are deleted"), json!({"shard": 0, "newShard": 1, "phase": "Dissolved", "pauseSeconds": 0.024, "rowsScanned": 640, "rowsEstimated": 1000, "rowsDeleted": 320})));
    served.tell(&world);
    shows("the purge", ["done", "done", "done", "done", "now"]);
    assert!(browser.text(".frame .tie").contains("the link is gone"), "{}", browser.text(".frame"));
    assert!(browser.text(".plan").contains("64 % purged"), "{}", browser.text(".plan"));
    browser.screenshot(&picture("split-purge"));
    // Done: two shards like any others.
    for shard in 0..2 {
        world.change(shard, |p| with(p, json!({"spec": {"split": null}, "status": {"split": null}})));
    }
    world.plans[0] = with(&plan, at(Some("Complete"), ("Complete", ""), json!({"shard": 0, "newShard": 1, "phase": "Complete", "pauseSeconds": 0.024})));
    served.tell(&world);
    browser.until("two pairs side by side", "document.querySelectorAll('.frame').length === 0 && document.querySelectorAll('.unit').length === 2");
    assert_eq!(browser.js("return window.sameDocument"), true, "it was never loaded anew");
    is_quiet(&browser, &served);
}

#[test]
fn texts_are_texts_and_the_page_is_for_this_machine_alone() {
    let mut world = World::of(2);
    let bad = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>";
    world.change(0, |p| with(p, json!({"status": {"conditions": [condition("Ready", "False", "StandbyUnreachable", bad, "02:48:00"), condition("Available", "True", "x", "", "02:48:00")],
        "members": [{"name": "shop-m0", "node": "\"><svg onload=alert(1)>"}, {"name": "shop-m1", "node": bad}]}})));
    world.plans.push(world::plan(json!({"metadata": {"name": bad}, "status": {"conditions": [condition("Stalled", "True", "Refused", bad, "02:00:00")], "findings": [{"severity": "Refused", "reason": bad, "object": bad, "message": bad}]}})));
    let (served, browser) = opened(&world);
    assert!(browser.text("[data-pair='default/shop-0']").contains(bad) && browser.text(".plan").contains(bad));
    browser.press(&["n", "Enter"]);
    browser.until("the closer look", "!document.getElementById('detail').hidden");
    assert_eq!(browser.js("return document.querySelectorAll('#body :is(img, script, iframe, [onerror], [onload])').length"), 0);
    is_quiet(&browser, &served);
    assert_eq!(browser.js("try { document.body.innerHTML = '<b>x</b>'; return 'taken'; } catch (error) { return error.name; }"), "TypeError");
    assert_eq!(browser.js("return fetch('http://127.0.0.1:1/').then(() => 'reached', e => e.name)"), "TypeError");
    assert!(browser.complaints().iter().any(|c| c.contains("Content Security Policy")));
    // A name that somebody made to lead to this machine.
    for (host, status) in [("evil.example:8081", "421"), ("", "421"), ("127.0.0.1.evil.example", "421"), ("localhost:8081", "200"), ("[::1]:8081", "200"), ("127.0.0.1", "200")] {
        let (head, body) = http(served.port, "GET", "/", host, "").expect("an answer");
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")) && head.contains("content-security-policy: default-src 'none'"), "{host}: {head}");
        assert_eq!(body.contains("<main"), status == "200", "{host}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let (head, _) = http(served.port, method, "/events", "localhost", "{}").expect("an answer");
        assert!(head.starts_with("HTTP/1.1 405"), "{method}: {head}");
    }
}

#[test]
fn an_operator_that_goes_away_is_told_and_taken_up_again() {
    let mut world = World::of(3);
    let (mut served, browser) = opened(&world);
    browser.until("live", "document.getElementById('live').className === 'live'");
    served.stop();
    browser.until("it says so", "!document.getElementById('old').hidden && document.getElementById('live').className === 'silent'");
    browser.size(1100, 460, false);
    browser.screenshot(&picture("silent"));
    world.pairs.pop();
    world.change(0, failed_over);
    served.tell(&world);
    served.resume();
    browser.until_within("live again", "document.getElementById('live').className === 'live' && document.getElementById('old').hidden", 2 * browser::SOON);
    browser.until("what changed meanwhile", "document.querySelectorAll('.unit').length === 2 && document.querySelector('.server.open .name').textContent === 'shop-m1'");
}

#[test]
fn a_page_too_many_is_refused_and_tries_again() {
    let served = Served::start(&World::of(1));
    let hold: Vec<_> = (0..16).map(|_| std::net::TcpStream::connect(("127.0.0.1", served.port)).expect("a connection")).collect();
    for mut stream in &hold {
        std::io::Write::write_all(&mut stream, b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("asked");
        std::io::Read::read_exact(&mut stream, &mut [0; 15]).expect("an answer");
    }
    let (head, _) = http(served.port, "GET", "/events", "localhost", "").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    let browser = Browser::start();
    browser.open(&served.url());
    browser.until("it waits", "document.getElementById('live').className === 'connecting'");
    drop(hold);
    browser.until("its turn", "document.querySelectorAll('.unit').length === 1");
}

/// Relative luminance by WCAG 2.2.
fn luminance(hex: &str) -> f64 {
    let full: String = if hex.len() == 4 { hex[1..].chars().flat_map(|c| [c, c]).collect() } else { hex[1..].to_owned() };
    let channel = |at: usize| {
        let c = f64::from(u8::from_str_radix(&full[at..at + 2], 16).expect("hex")) / 255.0;
        if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
}

#[test]
fn colours_can_be_told_from_their_ground_by_light_and_dark() {
    let served = Served::start(&World::of(1));
    let browser = Browser::start();
    browser.open(&served.url());
    for dark in [false, true] {
        browser.size(1200, 800, dark);
        let read = |name: &str| browser.js(&format!("return getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()")).as_str().expect("a colour").to_owned();
        for ground in ["ground", "card", "sunk"] {
            for ink in ["text", "dim", "brand", "well", "busy", "single", "down", "forced"] {
                let (a, b) = (luminance(&read(ground)), luminance(&read(ink)));
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(contrast >= 4.5, "{ink} on {ground}, dark {dark}: {contrast:.2}");
            }
        }
    }
}
