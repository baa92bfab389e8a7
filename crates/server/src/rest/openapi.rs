//! The OpenAPI document, made from the handlers and the shapes, and the page that shows it.

use std::fmt::Write as _;

use bezant_api::{ErrorCode, json};
use bytes::Bytes;
use utoipa::OpenApi;

use super::{accounts, books, events, transfers};

#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Bezant",
        description = "A fault-tolerant ledger of accounts and transfers. Amounts, ids and keys of 64 bits and more are strings of decimal digits; amounts are minor units.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        accounts::create,
        accounts::query,
        accounts::show,
        accounts::transfers,
        accounts::balances,
        accounts::history,
        accounts::set_bounds,
        accounts::set_name,
        transfers::create,
        transfers::query,
        transfers::show,
        transfers::post,
        transfers::void,
        books::assets,
        books::register,
        books::books,
        events::list,
        events::stream,
    ),
    components(schemas(json::ChangeReply, json::Side, json::Problem, json::ProblemField))
)]
struct Document;

/// The page's frame; its script reads `/openapi.json` and needs nothing from elsewhere.
const PAGE: &str = include_str!("docs.html");

/// The document as JSON.
pub(super) fn document() -> Bytes {
    Document::openapi().to_json().unwrap_or_default().into()
}

/// The page, with the table of error codes.
pub(super) fn page() -> Bytes {
    let mut rows = String::new();
    for code in ErrorCode::ALL {
        let (status, grpc) = (code.http_status(), code.grpc_code());
        let meaning = code.meaning();
        writeln!(rows, "<tr id=\"{code}\"><td><code>{code}</code><td>{status}<td>{grpc:?}<td>{meaning}")
            .unwrap_or_default();
    }
    PAGE.replace("<!-- errors -->", &rows).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_every_path_and_shape() {
        let document: serde_json::Value = serde_json::from_slice(&document()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        assert_eq!(paths.len(), 15);
        assert!(paths["/v1/transfers"]["post"]["requestBody"].is_object());
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for name in ["AccountBody", "TransferBody", "AccountReply", "Problem", "EventReply", "BooksReply"] {
            assert!(schemas.contains_key(name), "{name}");
        }
        let text = document.to_string();
        for (at, _) in text.match_indices("#/components/schemas/") {
            let name: String = text[at + "#/components/schemas/".len()..]
                .chars()
                .take_while(|letter| *letter != '"')
                .collect();
            assert!(schemas.contains_key(&name), "{name} is named and missing");
        }
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = String::from_utf8(page().to_vec()).unwrap();
        assert!(
            !page.contains("http://") && !page.contains("https://") && page.contains("id=\"overloaded\"")
        );
    }
}
