//! The check that all tests with killed processes share.

use std::collections::BTreeMap;

use bezant_client::Client;
use bezant_types::{MovementNumber, Nanos, TransferId};

/// Checks that every acknowledged transfer is in the history of this node once, with its acknowledged
/// timestamp.
pub(crate) async fn check_history(client: &Client, timestamps: &BTreeMap<TransferId, Nanos>) {
    let mut found = BTreeMap::new();
    let mut pages = client.movements_paged(MovementNumber(0));
    while let Some((_, movement)) = pages.next().await.expect("the history can be read") {
        let before = found.insert(movement.transfer.id, movement.timestamp);
        assert_eq!(before, None, "{:?} is there twice", movement.transfer.id);
    }
    for (id, timestamp) in timestamps {
        assert_eq!(found.get(id), Some(timestamp), "{id:?} was acknowledged");
    }
}
