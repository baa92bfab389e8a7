//! The text that REST clients send: bodies in JSON, query parameters, cursors, tokens.

use bezant_api::cursor::{self, Fingerprint};
use bezant_api::json;
use bezant_api::token::{EventPosition, EventsFrom, SessionToken};
use bezant_types::{AccountId, GroupId, LedgerNumber, LogIndex, MovementNumber};

use super::Target;

pub(super) const BODIES: Target =
    Target { name: "json", about: "JSON bodies of requests", seeds: body_seeds, run: run_body };

pub(super) const QUERIES: Target = Target {
    name: "query",
    about: "parameters of lists, and cursors in them",
    seeds: query_seeds,
    run: run_query,
};

pub(super) const CURSORS: Target =
    Target { name: "cursor", about: "cursors", seeds: cursor_seeds, run: run_cursor };

pub(super) const TOKENS: Target = Target {
    name: "token",
    about: "tokens of sessions, and positions of change events",
    seeds: token_seeds,
    run: run_token,
};

fn body_seeds() -> Vec<Vec<u8>> {
    [
        r#"{"name":"users:alice:main","ledger":978,"code":1,"flags":["history"],"bounds":{"minimum":"-50000"}}"#,
        r#"[{"id":"1","asset":"EUR","code":1},{"id":"340282366920938463463374607431768211454","ledger":1,"code":65535}]"#,
        r#"{"id":"7","debit_account":"users:alice:main","credit_account":"2","amount":"1050","asset":"EUR","code":1}"#,
        r#"[{"debit_account_id":"1","credit_account_id":"2","amount":"1","ledger":1,"code":1,"flags":["pending","linked"],"timeout":60}]"#,
        r#"{"ledger":1,"code":"POINTS","scale":0}"#,
        r#"{"minimum":"-170141183460469231731687303715884105728","maximum":null}"#,
        r#"{"name":"users:bob"}"#,
        r#"{"id":"9","amount":"5"}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn run_body(input: &[u8]) {
    // Both results are valid: a draft, or a failure that can be printed.
    drop(json::parse_accounts(input).map_err(|failure| format!("{failure:?}")));
    drop(json::parse_transfers(input).map_err(|failure| format!("{failure:?}")));
    drop(json::parse_assets(input).map_err(|failure| format!("{failure:?}")));
    drop(json::parse_bounds(input).map_err(|failure| format!("{failure:?}")));
    drop(json::parse_name(input).map_err(|failure| format!("{failure:?}")));
    drop(json::parse_resolution(input).map_err(|failure| format!("{failure:?}")));
}

fn fingerprint() -> Fingerprint {
    Fingerprint::of("accounts", &[b"everything"])
}

fn query_seeds() -> Vec<Vec<u8>> {
    [
        "limit=10&reversed=true&code=7&user_data_128=340282366920938463463374607431768211455",
        "timestamp_min=1&timestamp_max=18446744073709551615&asset=EUR&cursor=AQA",
        "side=debits&user_data_64=5&user_data_32=6&limit=1000",
        "from=e1AQEqlyg&limit=1",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn run_query(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(query) = json::parse_query::<json::AccountsQuery>(&text) {
        drop(query.paged("accounts", LedgerNumber(1)));
    }
    if let Ok(query) = json::parse_query::<json::HistoryQuery>(&text) {
        drop(query.paged("transfers", AccountId(1)));
    }
    if let Ok(query) = json::parse_query::<json::EventsQuery>(&text) {
        drop(query.limit());
    }
}

fn cursor_seeds() -> Vec<Vec<u8>> {
    [0, 1_700_000_000_000_000_000, u64::MAX]
        .map(|next| cursor::encode(fingerprint(), next).into_bytes())
        .to_vec()
}

fn run_cursor(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(next) = cursor::decode(&text, fingerprint()) {
        assert_eq!(cursor::encode(fingerprint(), next), text, "a cursor has one encoding");
    }
}

fn token_seeds() -> Vec<Vec<u8>> {
    let (mut session, mut position) = (SessionToken::default(), EventPosition::START);
    let mut seeds = vec![b"start".to_vec(), b"now".to_vec(), b"41".to_vec()];
    for (group, number) in [(1, 1), (2, 300), (65_535, u64::MAX)] {
        session.merge(&SessionToken::of(GroupId(group), LogIndex(number)));
        position.merge(&EventPosition::of(GroupId(group), MovementNumber(number)));
        seeds.extend([session.to_string().into_bytes(), position.to_string().into_bytes()]);
    }
    seeds
}

fn run_token(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(session) = text.parse::<SessionToken>() {
        assert_eq!(session.to_string(), text, "a session has one text");
        let mut merged = session.clone();
        merged.merge(&session);
        assert_eq!(merged, session, "a merge with itself changes nothing");
    }
    if let Ok(position) = text.parse::<EventPosition>() {
        assert_eq!(position.to_string(), text, "a position has one text");
        assert_eq!(text.parse(), Ok(EventsFrom::At(position)));
    }
}
