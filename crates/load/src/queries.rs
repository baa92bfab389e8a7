//! The queries after the load: look-ups by id, histories of accounts, queries by the fields of transfers.

use std::future::Future;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bezant_api::v1;
use bezant_types::TransferId;
use hdrhistogram::Histogram;

use super::BenchArgs;
use super::clients::Connection;
use super::load::{CODES, LEDGER, Load, Random};

/// The latencies of the queries of one kind.
#[derive(Debug)]
pub(super) struct QueryFigures {
    /// The kind of query, as it is printed.
    pub(super) name: &'static str,
    /// Rows of all answers together.
    pub(super) rows: u64,
    /// Microseconds from a query to its answer.
    pub(super) latencies: Histogram<u64>,
}

/// Rows per page, as a user interface would request.
const PAGE: u32 = 100;

/// Sends the queries of every kind, one query at a time, `args.queries` of each.
pub(super) async fn ask(
    load: &Load,
    args: &BenchArgs,
    connection: &mut Connection,
    sample: &[TransferId],
) -> Result<Vec<QueryFigures>> {
    if args.queries == 0 {
        return Ok(Vec::new());
    }
    let mut random = Random::new(args.seed.wrapping_add(1));
    let calls = &connection.calls;
    let mut figures = vec![
        figures_of("look up a transfer by id", args.queries, || {
            let place = random.below(u64::try_from(sample.len()).unwrap_or(1));
            let id =
                usize::try_from(place).ok().and_then(|place| sample.get(place)).copied().unwrap_or_default();
            let mut calls = calls.clone();
            async move {
                let reply =
                    calls.lookup_transfers(v1::LookupTransfersRequest { ids: vec![narrow(id.0)] }).await?;
                let rows = reply.into_inner().transfers.len();
                ensure!(rows == 1, "transfer {id} was accepted and is not found");
                Ok(rows)
            }
        })
        .await?,
    ];
    for (name, limit) in [("newest 100 transfers of an account", PAGE), ("all transfers of an account", 0)] {
        let mut filter = || account_filter(load, &mut random, limit);
        let figures_of_account = figures_of(name, args.queries, || {
            let (mut calls, filter) = (calls.clone(), filter());
            async move { Ok(calls.get_account_transfers(filter).await?.into_inner().transfers.len()) }
        });
        figures.push(figures_of_account.await?);
    }
    if args.history {
        let of_balances = figures_of("newest 100 balances of an account", args.queries, || {
            let (mut calls, filter) = (calls.clone(), account_filter(load, &mut random, PAGE));
            async move { Ok(calls.get_account_balances(filter).await?.into_inner().balances.len()) }
        });
        figures.push(of_balances.await?);
    }
    let of_query = figures_of("newest 100 transfers by code", args.queries, || {
        let (mut calls, filter) = (calls.clone(), query_filter(&mut random));
        async move { Ok(calls.query_transfers(filter).await?.into_inner().transfers.len()) }
    });
    figures.push(of_query.await?);
    Ok(figures)
}

/// Sends `count` queries; an error when one fails.
async fn figures_of<Answer>(
    name: &'static str,
    count: u64,
    mut query: impl FnMut() -> Answer,
) -> Result<QueryFigures>
where
    Answer: Future<Output = Result<usize>>,
{
    let latencies = Histogram::new_with_bounds(1, 3_600_000_000, 3).context("no histogram")?;
    let mut figures = QueryFigures { name, rows: 0, latencies };
    for _ in 0..count {
        let start = Instant::now();
        let rows = query().await.with_context(|| format!("the query '{name}' failed"))?;
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
