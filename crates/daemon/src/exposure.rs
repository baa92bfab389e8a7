//! The warning of a node that other machines can reach.

use std::net::SocketAddr;

/// One sentence about all listeners that other machines can reach; `None` when there is none.
pub(crate) fn warning(addresses: &[SocketAddr], has_token: bool) -> Option<String> {
    let open = addresses.iter().filter(|address| !address.ip().to_canonical().is_loopback());
    let open: Vec<String> = open.map(SocketAddr::to_string).collect();
    if open.is_empty() {
        return None;
    }
    let changes = if has_token { "; changes of the cluster need its token" } else { "" };
    Some(format!(
        "WARNING: clients are NOT authenticated: every client that reaches {} can read all accounts and move money; keep \
         it in a private network{changes}",
        open.join(" or ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listeners_that_others_reach_are_named() {
        let warning = |addresses: &[&str], has_token| {
            let addresses: Vec<SocketAddr> =
                addresses.iter().map(|address| address.parse().expect("an address")).collect();
            warning(&addresses, has_token)
        };
        assert_eq!(warning(&["127.0.0.1:7070", "[::1]:3001", "[::ffff:127.0.0.1]:1"], true), None);
        let text = warning(&["127.0.0.1:7070", "0.0.0.0:3001"], false).expect("one is open");
        assert!(text.contains("0.0.0.0:3001") && !text.contains("7070") && !text.contains("token"), "{text}");
        let text = warning(&["10.0.0.1:7070", "[::]:3001"], true).expect("both are open");
        assert!(text.contains("10.0.0.1:7070 or [::]:3001") && text.ends_with("need its token"), "{text}");
    }
}
