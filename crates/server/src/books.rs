//! The books: sums over the accounts, over gRPC and REST.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::Response;
use axum::routing::get;
use bezant_api::assets::AssetBook;
use bezant_api::json::{BooksReply, LedgerReply, Problem};
use bezant_api::{ErrorCode, Failure, v1};
use bezant_ledger::{Books, LedgerAnswer, LedgerQuery};
use bezant_types::{LedgerNumber, LedgerTotals};
use http::StatusCode;
use utoipa::OpenApi;

use crate::context::RequestContext;
use crate::failure::{self, Refused};
use crate::metrics::{Api, Call};
use crate::rest::{RestRequest, json};
use crate::service::Service;

/// The paths of this module, for the OpenAPI document.
#[derive(Debug, OpenApi)]
#[openapi(paths(show_books, show_ledger))]
pub(crate) struct Paths;

/// The routes of this module, below `/v1`.
pub(crate) fn routes() -> Router<Arc<Service>> {
    Router::new().route("/books", get(show_books)).route("/ledgers/{ledger}", get(show_ledger))
}

impl Service {
    /// Reads the books: totals of the whole ledger.
    pub(crate) async fn books(&self, context: &RequestContext) -> Result<Books, Failure> {
        let reserved = context.budget.reserve(self.books_rows.load(Relaxed).saturating_add(1))?;
        let LedgerAnswer::Books(books) = self.ask(LedgerQuery::Books, context).await? else {
            return Err(failure::internal("the ledger's answer is of another kind"));
        };
        self.books_rows.store(books.ledgers.len(), Relaxed);
        reserved.settle(books.ledgers.len());
        Ok(books)
    }

    /// Reads the totals of one ledger, and the assets; `ledger_not_found` for one without account and asset.
    async fn ledger(
        &self,
        number: LedgerNumber,
        context: &RequestContext,
    ) -> Result<(LedgerTotals, Arc<AssetBook>), Failure> {
        let query = LedgerQuery::Ledger(number);
        let reserved = context.budget.reserve(query.rows_max())?;
        let LedgerAnswer::Ledger(totals) = self.ask(query, context).await? else {
            return Err(failure::internal("the ledger's answer is of another kind"));
        };
        reserved.settle(1);
        let totals = totals.ok_or_else(|| {
            let detail = format!(
                "ledger {number} has neither an account nor an asset; the list of assets shows those that exist"
            );
            Failure::new(ErrorCode::LedgerNotFound, detail)
        })?;
        Ok((totals, self.assets_for([number].into_iter(), context).await))
    }
}

pub(crate) async fn get_ledger(
    service: &Service,
    request: v1::GetLedgerRequest,
    context: &RequestContext,
) -> Result<v1::GetLedgerReply, Failure> {
    let (totals, assets) = service.ledger(LedgerNumber(request.ledger), context).await?;
    Ok(v1::GetLedgerReply {
        totals: Some(totals.into()),
        balanced: totals.is_balanced(),
        asset: assets.of(totals.ledger).copied().map(v1::Asset::from),
    })
}

/// Show the totals of one ledger
#[utoipa::path(get, path = "/v1/ledgers/{ledger}", tag = "Books", operation_id = "get_ledger",
    params(("ledger" = u32, Path, description = "Number of the ledger")),
    responses(
        (status = 200, description = "The totals: debits equal credits", body = LedgerReply),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
async fn show_ledger(
    request: RestRequest,
    ledger: Result<Path<u32>, PathRejection>,
) -> Result<Response, Refused> {
    let RestRequest { service, context, .. } = &request;
    let work = async {
        let Ok(Path(ledger)) = ledger else {
            let detail = "the ledger in the path is no number of 32 bits: see /v1/assets";
            return Err(Failure::new(ErrorCode::InvalidField, detail));
        };
        let (totals, assets) = service.ledger(LedgerNumber(ledger), context).await?;
        json(StatusCode::OK, &LedgerReply::new(&totals, &assets))
    };
    Ok(service.observe(Api::Rest, Call::GetLedger, work).await?)
}

pub(crate) async fn get_books(
    service: &Service,
    _: v1::GetBooksRequest,
    context: &RequestContext,
) -> Result<v1::GetBooksReply, Failure> {
    service.books(context).await.map(v1::GetBooksReply::from)
}

/// Show the totals of all accounts, a row for each ledger
#[utoipa::path(get, path = "/v1/books", tag = "Books", operation_id = "get_books",
    responses(
        (status = 200, description = "The books: debits equal credits", body = BooksReply),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
async fn show_books(request: RestRequest) -> Result<Response, Refused> {
    let RestRequest { service, context, .. } = &request;
    let work = async {
        let books = service.books(context).await?;
        let ledgers = books.ledgers.iter().map(|totals| totals.ledger);
        let assets = service.assets_for(ledgers, context).await;
        json(StatusCode::OK, &BooksReply::new(&books, &assets))
    };
    Ok(service.observe(Api::Rest, Call::GetBooks, work).await?)
}
