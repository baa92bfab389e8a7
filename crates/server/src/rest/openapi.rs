//! The OpenAPI document, made from the handlers and the shapes, and the page that shows it.
//!
//! Generators of typed clients read the document. So every operation has a unique name and every integer the
//! range of its type, and `compat/openapi/run` runs three generated clients against a server.

mod examples;
mod integers;
mod shapes;

use std::fmt::Write as _;

use bezant_api::{ErrorCode, json};
use bytes::Bytes;
use serde::Serialize;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Required};
use utoipa::{OpenApi, ToSchema};

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
        accounts::holds,
        accounts::balances,
        accounts::history,
        accounts::set_bounds,
        accounts::change_bounds,
        accounts::set_name,
        transfers::create,
        transfers::query,
        transfers::show,
        transfers::holds,
        transfers::post,
        transfers::void,
        books::assets,
        books::register,
        books::cluster,
        books::change,
        events::list,
        events::stream,
    ),
    components(schemas(json::ChangeReply, json::Moment, json::Side, json::Problem, json::ProblemField))
)]
struct Document;

/// The documentation page. Its script reads `/openapi.json` and loads nothing from other hosts.
const PAGE: &str = include_str!("docs.html");

/// The body of a POST: one object, or an array of up to 8189.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only the document uses it; no code makes a value")]
pub(super) enum OneOrMany<Body> {
    /// One object: the reply has its result.
    One(Body),
    /// An array: the reply has a status for each.
    Many(Vec<Body>),
}

/// The result of one object, or the results of an array.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only the document uses it; no code makes a value")]
pub(super) enum OneOrBatch {
    /// The result of one object.
    One(json::EventReply),
    /// The results of an array.
    Batch(json::BatchReply),
}

/// The document as JSON.
pub(super) fn document() -> Bytes {
    let mut document = serde_json::to_value(operations()).unwrap_or_default();
    shapes::name_copies(&mut document);
    shapes::leave_out_defaults(&mut document);
    shapes::forbid_null_where_it_is_left_out(&mut document);
    integers::add_ranges(&mut document);
    examples::add(&mut document);
    document.to_string().into()
}

/// The document before the changes that all shapes share.
fn operations() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    document.merge(crate::books::Paths::openapi());
    for (path, item) in &mut document.paths.paths {
        // Where PATCH has no handler in the document, it does what PUT does.
        if item.patch.is_none() {
            item.patch = item.put.clone().map(|mut patch| {
                patch.operation_id = patch.operation_id.map(|id| format!("{id}_by_patch"));
                patch
            });
        }
        for operation in [&mut item.get, &mut item.put, &mut item.post, &mut item.patch].into_iter().flatten()
        {
            operation.parameters.get_or_insert_default().push(timeout_header().into());
            let is_resolution = path.ends_with("/post") || path.ends_with("/void");
            if let Some(RefOr::T(body)) = operation.request_body.as_mut().filter(|_| is_resolution) {
                body.required = Some(Required::False);
            }
        }
    }
    document
}

/// The header that every call accepts.
fn timeout_header() -> Parameter {
    ParameterBuilder::new()
        .name("Request-Timeout")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "When to answer at the latest: seconds (5) or milliseconds (250ms), up to 60 s; the default is 30 s",
        ))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]+(s|ms)?$"))))
        .build()
}

/// The documentation page, with the table of error codes.
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
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_has_every_path_and_shape() {
        let document: serde_json::Value = serde_json::from_slice(&document()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.len() == 19, "{paths:?}");
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
            assert!(schemas.contains_key(&name), "{name} is referred to and missing");
        }
    }

    #[test]
    fn the_document_has_exactly_the_routes_of_the_router() {
        let sources = [include_str!("mod.rs"), include_str!("../books.rs")];
        let routes = sources
            .iter()
            .flat_map(|source| source.split(".route(\"").skip(1))
            .flat_map(|it| it.lines().take(1));
        let of_router: BTreeSet<String> = routes
            .flat_map(|route| {
                let (path, handlers) = route.split_once('"').unwrap();
                let handlers = handlers.replace([' ', '.'], ",");
                let methods = ["get", "put", "post", "patch", "delete"].into_iter();
                methods
                    .filter(|method| handlers.contains(&format!(",{method}(")))
                    .map(|method| format!("{method} /v1{path}"))
                    .collect::<Vec<_>>()
            })
            .collect();
        assert!(of_router.len() == 25, "{of_router:?}");
        let document: serde_json::Value = serde_json::from_slice(&document()).unwrap();
        let mut of_document = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let parameters = operation["parameters"].to_string();
                assert!(parameters.contains("\"Request-Timeout\""), "{method} {path}");
                of_document.insert(format!("{method} {path}"));
            }
        }
        assert_eq!(of_document, of_router);
    }

    #[test]
    fn bodies_may_be_arrays_and_a_resolution_may_be_empty() {
        let document: serde_json::Value = serde_json::from_slice(&document()).unwrap();
        let (paths, schemas) = (&document["paths"], &document["components"]["schemas"]);
        let one_of = |place: &serde_json::Value| {
            let schema = &place["content"]["application/json"]["schema"];
            let name = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next());
            let schema = name.map_or(schema, |name| &schemas[name]);
            schema["oneOf"].as_array().map_or(0, Vec::len)
        };
        for path in ["/v1/accounts", "/v1/transfers", "/v1/assets"] {
            let post = &paths[path]["post"];
            assert_eq!((one_of(&post["requestBody"]), one_of(&post["responses"]["200"])), (2, 2), "{path}");
        }
        for path in ["/v1/transfers/{id}/post", "/v1/transfers/{id}/void"] {
            let post = &paths[path]["post"];
            assert_eq!(post["requestBody"]["required"], false, "{path}");
            assert!(post["responses"]["200"].is_object(), "{path}");
        }
    }

    #[test]
    fn every_operation_has_a_unique_name_and_an_error() {
        let document: serde_json::Value = serde_json::from_slice(&document()).unwrap();
        let mut names = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let name = operation["operationId"].as_str().unwrap();
                assert!(names.insert(name.to_owned()), "{name} is there twice");
                assert!(name.contains('_'), "{name} has a verb and an object");
                let error = &operation["responses"]["default"]["content"]["application/problem+json"];
                assert_eq!(error["schema"]["$ref"], "#/components/schemas/Problem", "{method} {path}");
            }
        }
        assert!(names.len() == 25, "{names:?}");
    }

    #[test]
    fn the_page_loads_nothing_from_other_hosts() {
        let page = String::from_utf8(page().to_vec()).unwrap();
        assert!(
            !page.contains("http://") && !page.contains("https://") && page.contains("id=\"overloaded\"")
        );
    }
}
