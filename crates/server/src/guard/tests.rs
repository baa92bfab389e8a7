//! The guard alone: which requests it accepts and refuses, header by header.

use http::HeaderValue;

use super::*;

fn guard(address: &str, hosts: &[&str]) -> Guard {
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    Guard::new(address.parse().unwrap(), hosts, Some(ClusterToken::new(" a token of some length\n")))
}

/// A request over HTTP/1.1, with one header a line in `headers`.
fn request(method: &str, headers: &str) -> Request<()> {
    let mut request = Request::builder().method(method).uri("/v1/transfers");
    for line in headers.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    request.body(()).unwrap()
}

fn code(guard: &Guard, method: &str, headers: &str) -> Option<ErrorCode> {
    guard.check(&request(method, headers), false).err().map(|failure| failure.code)
}

const JSON: &str = "content-type: application/json";

#[test]
fn a_loopback_listener_accepts_loopback_and_allowed_hosts() {
    let guards = [guard("127.0.0.1:7070", &["ledger.example"]), guard("[::1]:7070", &["Ledger.Example."])];
    for guard in guards {
        for own in [
            "localhost",
            "LocalHost:7070",
            "localhost.:1",
            "app.localhost:9",
            "127.0.0.1:7070",
            "127.8.8.8",
            "[::1]",
            "[::1]:7070",
            "[::ffff:127.0.0.1]:7",
            "ledger.example",
            "LEDGER.example:443",
            "ledger.example.",
        ] {
            assert_eq!(code(&guard, "GET", &format!("host: {own}")), None, "{own}");
            assert_eq!(code(&guard, "POST", &format!("host: {own}\n{JSON}")), None, "{own}");
        }
        for foreign in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "10.0.0.1:7070",
            "0.0.0.0:7070",
            "[::2]",
            "[::1",
            "127.0.0.1:7070:7070",
            "sub.ledger.example",
            "localhost:x",
            ":7070",
            ".",
            "2130706433",
        ] {
            let refused = code(&guard, "GET", &format!("host: {foreign}"));
            assert_eq!(refused, Some(ErrorCode::MisdirectedRequest), "{foreign}");
        }
    }
}

#[test]
fn another_listener_accepts_any_host_until_it_has_a_list() {
    let any = guard("0.0.0.0:7070", &[]);
    assert_eq!(code(&any, "POST", &format!("host: a.example:7070\n{JSON}")), None);
    let listed = guard("10.0.0.1:7070", &["a.example", "10.0.0.1", "fd00::7"]);
    for (host, refused) in [
        ("a.example", false),
        ("10.0.0.1:7070", false),
        ("[FD00::7]:1", false),
        ("localhost", false),
        ("b", true),
    ] {
        assert_eq!(code(&listed, "GET", &format!("host: {host}")).is_some(), refused, "{host}");
    }
}

#[test]
fn a_page_may_write_only_to_its_own_host() {
    let own = guard("127.0.0.1:7070", &["ledger.example"]);
    let with = |host: &str, more: &str| code(&own, "POST", &format!("host: {host}\n{JSON}\n{more}"));
    for (host, origin) in [
        ("localhost:7070", "http://localhost:7070"),
        ("localhost", "http://localhost:80"),
        ("ledger.example", "https://ledger.example"),
        ("ledger.example:443", "https://LEDGER.example"),
    ] {
        assert_eq!(with(host, &format!("origin: {origin}")), None, "{origin}");
    }
    for origin in [
        "null",
        "https://evil.example",
        "http://localhost",
        "http://localhost:7071",
        "http://127.0.0.1:7070",
        "",
        "file://",
        "chrome-extension://localhost:7070",
        "localhost:7070",
        "http://localhost:7070.evil.example",
    ] {
        let refused = with("localhost:7070", &format!("origin: {origin}"));
        assert_eq!(refused, Some(ErrorCode::ForbiddenOrigin), "{origin}");
    }
    let twice = "origin: http://localhost:7070\norigin: https://evil.example";
    assert_eq!(with("localhost:7070", twice), Some(ErrorCode::ForbiddenOrigin));
    for (site, refused) in
        [("same-origin", false), ("none", false), ("same-site", true), ("cross-site", true), ("x", true)]
    {
        assert_eq!(with("localhost", &format!("sec-fetch-site: {site}")).is_some(), refused, "{site}");
    }
}

#[test]
fn a_page_of_a_rebound_name_may_not_write() {
    let any = guard("0.0.0.0:7070", &[]);
    let page = |host: &str| code(&any, "POST", &format!("host: {host}\norigin: http://{host}\n{JSON}"));
    assert_eq!(page("rebound.example:7070"), Some(ErrorCode::MisdirectedRequest));
    assert_eq!((page("192.168.0.7:7070"), page("localhost:7070")), (None, None));
    assert_eq!(code(&any, "POST", &format!("host: rebound.example:7070\n{JSON}")), None, "no page sent it");
}

#[test]
fn reads_of_foreign_pages_are_refused_and_links_are_followed() {
    let own = guard("127.0.0.1:7070", &[]);
    let read = |method: &str, more: &str| code(&own, method, &format!("host: localhost\n{more}"));
    assert_eq!(
        read("GET", "sec-fetch-site: cross-site\nsec-fetch-mode: no-cors"),
        Some(ErrorCode::ForbiddenOrigin)
    );
    assert_eq!(read("OPTIONS", "origin: https://evil.example"), Some(ErrorCode::ForbiddenOrigin));
    let link = "sec-fetch-site: cross-site\nsec-fetch-mode: navigate\nsec-fetch-dest: ";
    assert_eq!(read("GET", &format!("{link}document")), None);
    assert_eq!(read("GET", &format!("{link}iframe")), Some(ErrorCode::ForbiddenOrigin));
    assert_eq!(read("POST", &format!("{link}document\n{JSON}")), Some(ErrorCode::ForbiddenOrigin), "a form");
}

#[test]
fn every_write_needs_the_type_that_no_page_can_send() {
    let own = guard("127.0.0.1:7070", &[]);
    for method in ["POST", "PUT", "PATCH", "DELETE", "PURGE"] {
        let write = |kind: &str| code(&own, method, &format!("host: localhost{kind}"));
        for kind in ["application/json", "Application/JSON; charset=utf-8"] {
            assert_eq!(write(&format!("\ncontent-type: {kind}")), None, "{method} {kind}");
        }
        for kind in [
            "",
            "\ncontent-type: text/plain",
            "\ncontent-type: application/jsonx",
            "\ncontent-type: ",
            "\ncontent-type: text/plain;application/json",
            "\ncontent-type: application/grpc-web+proto",
            "\ncontent-type: application/json\ncontent-type: text/plain",
        ] {
            assert_eq!(write(kind), Some(ErrorCode::UnsupportedMediaType), "{method} {kind}");
        }
    }
}

#[test]
fn a_head_that_is_not_of_http_is_refused() {
    let own = guard("127.0.0.1:7070", &[]);
    let read = |headers: &str| code(&own, "GET", headers);
    let invalid = Some(ErrorCode::InvalidRequest);
    assert_eq!(
        (read(""), read("host: localhost\nhost: localhost"), read("host: ")),
        (invalid, invalid, invalid)
    );
    assert_eq!((read("host: a@localhost"), read("host: localhost\nte: gzip, chunked")), (invalid, invalid));
    assert_eq!(
        (read("host: localhost\nte: trailers"), read("host: localhost\nexpect: 100-Continue")),
        (None, None)
    );
    let expects = read("host: localhost\nexpect: 200-ok");
    assert_eq!(expects, Some(ErrorCode::ExpectationFailed));
    assert_eq!(code(&own, "CONNECT", "host: localhost"), Some(ErrorCode::MethodNotAllowed));
    let old = Request::builder().version(Version::HTTP_10).body(()).unwrap();
    assert!(own.check(&old, false).is_ok());
    let two = Request::builder().uri("http://localhost/").header("host", "127.0.0.1").body(()).unwrap();
    assert_eq!(own.check(&two, false).unwrap_err().code, ErrorCode::InvalidRequest);
    let get = Request::builder().header("host", "localhost").body(()).unwrap();
    assert_eq!(own.check(&get, true).unwrap_err().code, ErrorCode::MethodNotAllowed, "gRPC is a POST");
}

#[test]
fn a_change_through_an_open_listener_needs_the_token() {
    let change = |guard: &Guard, headers: &HeaderMap, is_alone| {
        guard.permit_change(guard.principal(headers), is_alone)
    };
    let (own, open) = (guard("127.0.0.1:7070", &[]), guard("0.0.0.0:7070", &[]));
    let with = |value: &'static str| {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))])
    };
    assert!(change(&own, &HeaderMap::new(), false).is_ok());
    assert!(
        change(&open, &HeaderMap::new(), true).is_ok(),
        "standalone: refused later, because there is no cluster"
    );
    for right in ["Bearer a token of some length", "bearer  a token of some length "] {
        assert!(change(&open, &with(right), false).is_ok(), "{right}");
    }
    for wrong in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer a token of some lengthy",
        "Bearer a token of some lengtH",
        "Basic a",
    ] {
        let failure = change(&open, &with(wrong), false).unwrap_err();
        assert_eq!(failure.code, ErrorCode::TokenRequired, "{wrong}");
    }
    assert!(change(&open, &HeaderMap::new(), false).is_err());
    let without = Guard::new("0.0.0.0:7070".parse().unwrap(), Vec::new(), None);
    assert!(change(&without, &with("Bearer a token of some length"), false).is_err());
    assert!(!format!("{open:?}").contains("some length"), "the token is not printed");
}

#[test]
fn allowed_hosts_are_names_or_addresses_without_ports() {
    for right in ["ledger.example", "LEDGER", "10.0.0.7", "fd00::7", "[fd00::7]", "a_b.example."] {
        assert!(right.parse::<HostName>().is_ok(), "{right}");
    }
    for wrong in
        ["", "ledger.example:443", "[fd00::7]:443", "http://ledger.example", "a/b", "*.example", "a b"]
    {
        assert!(wrong.parse::<HostName>().is_err(), "{wrong}");
    }
}
