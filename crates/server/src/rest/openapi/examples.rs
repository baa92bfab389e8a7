//! Examples of bodies: the code that parses requests parses the examples of requests, and the code that makes
//! replies makes the examples of replies.

use bezant_api::json::{EventReply, Problem};
use bezant_api::{ErrorCode, Failure};
use bezant_ledger::Operation;
use bezant_types::{CreateTransferStatus, EventResult, Nanos};
use serde::Serialize;
use serde_json::{Value, json};

/// Adds the examples to the shapes of the document.
pub(super) fn add(document: &mut Value) {
    let Some(shapes) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) else {
        return;
    };
    for (name, example) in requests().into_iter().chain(replies()) {
        if let Some(shape) = shapes.get_mut(name).and_then(Value::as_object_mut) {
            shape.insert("examples".to_owned(), json!([example]));
        }
    }
}

/// Examples of request bodies.
fn requests() -> [(&'static str, Value); 8] {
    [
        (
            "AccountBody",
            json!({"name": "users:alice", "asset": "EUR", "code": 1, "bounds": {"minimum": "-50000"}}),
        ),
        (
            "TransferBody",
            json!({
                "debit_account": "users:alice", "credit_account": "users:bob", "amount": "1050",
                "asset": "EUR", "code": 1
            }),
        ),
        ("ResolutionBody", json!({"amount": "400"})),
        ("BoundsBody", json!({"minimum": "-50000"})),
        ("BoundsChangeBody", json!({"maximum": "100000"})),
        ("NameBody", json!({"name": "users:alice"})),
        ("AssetBody", json!({"ledger": 10001, "code": "POINTS", "scale": 0})),
        ("ChangeClusterBody", json!({"change": "add", "node": 4, "address": "d.example:7071"})),
    ]
}

/// Examples of replies.
fn replies() -> [(&'static str, Value); 2] {
    let created = CreateTransferStatus::Created.number();
    let result = EventResult { timestamp: Nanos(1_763_683_200_000_000_000), status: created };
    let event = EventReply::new(
        Operation::CreateTransfers,
        2_170_294_520_487_723_393_699_621_115_624_408_762,
        result,
        None,
    );
    let failure = Failure::new(ErrorCode::TransferNotFound, "there is no transfer with the id 7");
    [("EventReply", value(&event)), ("Problem", value(&Problem::from(&failure)))]
}

fn value(reply: &impl Serialize) -> Value {
    serde_json::to_value(reply).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bezant_api::json::{
        parse_accounts, parse_assets, parse_bounds, parse_bounds_change, parse_cluster_change, parse_name,
        parse_resolution, parse_transfers,
    };

    use super::*;

    #[test]
    fn the_examples_of_requests_are_accepted() {
        for (name, example) in requests() {
            let body = example.to_string();
            let body = body.as_bytes();
            let failure = match name {
                "AccountBody" => parse_accounts(body).err(),
                "TransferBody" => parse_transfers(body).err(),
                "ResolutionBody" => parse_resolution(body).err(),
                "BoundsBody" => parse_bounds(body).err(),
                "BoundsChangeBody" => parse_bounds_change(body, bezant_types::AccountId(1)).err(),
                "NameBody" => parse_name(body).err(),
                "AssetBody" => parse_assets(body).err(),
                "ChangeClusterBody" => parse_cluster_change(body).err(),
                other => panic!("{other} has no parser in this test"),
            };
            assert_eq!(failure, None, "{name}");
        }
    }

    #[test]
    fn every_body_has_an_example_in_the_document() {
        let document: Value = serde_json::from_slice(&super::super::document()).unwrap();
        let shapes = document["components"]["schemas"].as_object().unwrap();
        for (name, example) in requests().into_iter().chain(replies()) {
            assert_eq!(shapes[name]["examples"][0], example, "{name}");
        }
        let bodies = shapes.keys().filter(|name| name.ends_with("Body") && !name.contains('_'));
        for name in bodies {
            assert!(shapes[name]["examples"].is_array() || shapes[name]["enum"].is_array(), "{name}");
        }
    }
}
