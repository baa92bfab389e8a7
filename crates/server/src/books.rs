//! The books: sums over the accounts, over gRPC and REST.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use bezant_api::json::{BooksReply, Problem};
use bezant_api::{Failure, v1};
use bezant_ledger::{Books, LedgerAnswer, LedgerQuery};
use http::StatusCode;
use utoipa::OpenApi;

use crate::answer;
use crate::failure::{self, Refused};
use crate::metrics::{Api, Call};
use crate::rest::{Context, json};
use crate::service::{Deadline, Service};

/// The paths of this module, for the OpenAPI document.
#[derive(Debug, OpenApi)]
#[openapi(paths(show_books))]
pub(crate) struct Paths;

/// The routes of this module, below `/v1`.
pub(crate) fn routes() -> Router<Arc<Service>> {
    Router::new().route("/books", get(show_books))
}

impl Service {
    /// Reads the books: totals of the whole ledger.
    pub(crate) async fn books(&self, deadline: Deadline) -> Result<Books, Failure> {
        let reserved = answer::reserve(self.books_rows.load(Relaxed).saturating_add(1))?;
        let LedgerAnswer::Books(books) = self.ask(LedgerQuery::Books, deadline).await? else {
            return Err(failure::internal("the ledger's answer is of another kind"));
        };
        self.books_rows.store(books.ledgers.len(), Relaxed);
        reserved.settle(books.ledgers.len());
        Ok(books)
    }
}

pub(crate) async fn get_books(
    service: &Service,
    _: v1::GetBooksRequest,
    deadline: Deadline,
) -> Result<v1::GetBooksReply, Failure> {
    service.books(deadline).await.map(v1::GetBooksReply::from)
}

/// Show the totals of all accounts, a row for each ledger
#[utoipa::path(get, path = "/v1/books", tag = "Books", operation_id = "get_books",
    responses(
        (status = 200, description = "The books: debits equal credits", body = BooksReply),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
async fn show_books(context: Context) -> Result<Response, Refused> {
    let service = &context.service;
    let work = async {
        let books = service.books(context.deadline).await?;
        let ledgers = books.ledgers.iter().map(|totals| totals.ledger);
        let assets = service.assets_for(ledgers, context.deadline).await;
        json(StatusCode::OK, &BooksReply::new(&books, &assets))
    };
    Ok(service.observe(Api::Rest, Call::GetBooks, work).await?)
}
