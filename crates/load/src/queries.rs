//! The queries after the load: look-ups by id, histories of accounts, queries by the fields of transfers.

use std::future::Future;
use std::time::Instant;

use bezant_api::v1;
use bezant_types::TransferId;
use hdrhistogram::Histogram;
use tonic::{Response, Status};

use crate::clients::{Connection, histogram};
use crate::error::LoadError;
use crate::settings::Settings;
use crate::workload::{CODES, LEDGER, Load, Random};

/// The latencies of the queries of one kind.
#[derive(Debug)]
pub(crate) struct QueryFigures {
    /// The kind of query, as it is printed.
    pub(crate) name: &'static str,
    /// Rows of all answers together.
    pub(crate) rows: u64,
    /// Microseconds from a query to its answer.
    pub(crate) latencies: Histogram<u64>,
}

/// Rows per page, as a user interface would request.
const PAGE: u32 = 100;

/// Sends the queries of every kind, one query at a time, `settings.queries` of each.
pub(crate) async fn ask(
    load: &Load,
    settings: &Settings,
    connection: &mut Connection,
    sample: &[TransferId],
) -> Result<Vec<QueryFigures>, LoadError> {
    if settings.queries == 0 {
        return Ok(Vec::new());
    }
    let mut random = Random::new(settings.seed.wrapping_add(1));
    let calls = &connection.calls;
    let mut figures = vec![
        figures_of("look up a transfer by id", settings.queries, || {
            let place = random.below(u64::try_from(sample.len()).unwrap_or(1));
            let id =
                usize::try_from(place).ok().and_then(|place| sample.get(place)).copied().unwrap_or_default();
            let mut calls = calls.clone();
            async move {
                let request = v1::LookupTransfersRequest { ids: vec![narrow(id.0)] };
                let rows = answer(calls.lookup_transfers(request).await)?.transfers.len();
                if rows == 1 { Ok(rows) } else { Err(LoadError::NotFound(id)) }
            }
        })
        .await?,
    ];
    for (name, limit) in [("newest 100 transfers of an account", PAGE), ("all transfers of an account", 0)] {
        let mut filter = || account_filter(load, &mut random, limit);
        let figures_of_account = figures_of(name, settings.queries, || {
            let (mut calls, filter) = (calls.clone(), filter());
            async move { Ok(answer(calls.get_account_transfers(filter).await)?.transfers.len()) }
        });
        figures.push(figures_of_account.await?);
    }
    if settings.has_history {
        let of_balances = figures_of("newest 100 balances of an account", settings.queries, || {
            let (mut calls, filter) = (calls.clone(), account_filter(load, &mut random, PAGE));
            async move { Ok(answer(calls.get_account_balances(filter).await)?.balances.len()) }
        });
        figures.push(of_balances.await?);
    }
    let of_query = figures_of("newest 100 transfers by code", settings.queries, || {
        let (mut calls, filter) = (calls.clone(), query_filter(&mut random));
        async move { Ok(answer(calls.query_transfers(filter).await)?.transfers.len()) }
    });
    figures.push(of_query.await?);
    Ok(figures)
}

/// The message of a call's answer.
fn answer<Message>(answer: Result<Response<Message>, Status>) -> Result<Message, LoadError> {
    Ok(answer.map_err(Box::new)?.into_inner())
}

/// Sends `count` queries; an error when one fails.
async fn figures_of<Answer>(
    name: &'static str,
    count: u64,
    mut query: impl FnMut() -> Answer,
) -> Result<QueryFigures, LoadError>
where
    Answer: Future<Output = Result<usize, LoadError>>,
{
    let latencies = histogram()?;
    let mut figures = QueryFigures { name, rows: 0, latencies };
    for _ in 0..count {
        let start = Instant::now();
        let rows = query().await.map_err(|error| LoadError::Query { name, source: error.into() })?;
        let elapsed = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        figures.latencies.saturating_record(elapsed.max(1));
        figures.rows += u64::try_from(rows).unwrap_or(0);
    }
    Ok(figures)
}

fn account_filter(load: &Load, random: &mut Random, limit: u32) -> v1::AccountFilter {
    let id = load.account_id(random.below(load.accounts)).0;
    let reference = Some(v1::account_ref::Reference::Id(narrow(id)));
    v1::AccountFilter {
        account: Some(v1::AccountRef { reference }),
        limit,
        debits: true,
        credits: true,
        reversed: true,
        ..v1::AccountFilter::default()
    }
}

fn query_filter(random: &mut Random) -> v1::QueryFilter {
    v1::QueryFilter {
        ledger: LEDGER.0,
        code: u32::try_from(1 + random.below(CODES)).unwrap_or(1),
        limit: PAGE,
        reversed: true,
        ..v1::QueryFilter::default()
    }
}

fn narrow(number: u128) -> v1::Uint128 {
    let low = u128::from(u64::MAX);
    v1::Uint128 {
        high: u64::try_from(number >> 64).unwrap_or(0),
        low: u64::try_from(number & low).unwrap_or(0),
    }
}
