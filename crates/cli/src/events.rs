//! `bezant events`: change events in commit order.

use bezant_client::{Movement, MovementFilter, MovementNumber, Nanos};
use clap::Args;

use crate::exit::Failure;
use crate::json::MovementJson;
use crate::listing::{Shown, parse_time};
use crate::money::Unit;
use crate::output;
use crate::output::Format;
use crate::session::Session;

/// Which events to show.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant events                             what happens from now on, until Ctrl-C
  bezant events --from 0                    everything, then what happens
  bezant events --from 0 --until-caught-up -o json
  bezant events --since 2026-11-01 --until-caught-up
  bezant events --from 1200 --limit 10

Every event has a position. To resume, pass the last position seen plus one. A position after the end is an \
error that names the end. Then the ledger was restored from an older copy, or the position is another ledger's.")]
pub(crate) struct EventsArgs {
    /// First position to show [default: only new events]
    #[arg(long, value_name = "POSITION")]
    from: Option<u64>,
    /// Show events from that moment on: 2026-11-01 (midnight UTC), 2026-11-01T09:30:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "from")]
    since: Option<Nanos>,
    /// Show whole ids, names and times
    #[arg(long)]
    wide: bool,
    /// End when all events that exist at the start have been shown
    #[arg(long)]
    until_caught_up: bool,
    /// End after so many events; 0 = all
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// Shows the events, until the limit, the end or Ctrl-C.
pub(crate) async fn run(session: &Session, args: &EventsArgs) -> Result<(), Failure> {
    let assets = session.assets().await?;
    let end = if args.until_caught_up { Some(session.client.books().await?.history.movements) } else { None };
    let from = match args.since {
        Some(since) => Some(first_since(session, since).await?),
        None => args.from.or(end),
    };
    let mut shown = Shown::new(args.wide);
    let mut left = args.limit.filter(|limit| *limit > 0).unwrap_or(u64::MAX);
    // A position after the end goes to the server, which refuses it.
    if end.is_some() && from == end {
        return Ok(());
    }
    let mut events = session.client.events(from.map(MovementNumber)).await?;
    while left > 0 && end.is_none_or(|end| events.position().0 < end) {
        let (number, movement) = tokio::select! {
            event = events.next() => event?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let unit = assets.unit(movement.transfer.ledger);
        if session.output == Format::Json {
            output::json(&MovementJson::new(number, &movement, unit))?;
        } else {
            let ids = [movement.transfer.debit_account_id, movement.transfer.credit_account_id];
            shown.learn(session, ids).await?;
            print(number, &movement, unit, &shown)?;
        }
        left -= 1;
    }
    Ok(())
}

/// Position of the first event at or after a moment. If there is none: the position of the next event.
async fn first_since(session: &Session, since: Nanos) -> Result<u64, Failure> {
    let end = session.client.books().await?.history.movements;
    let filter =
        MovementFilter { from: MovementNumber(0), timestamp_min: since, timestamp_max: Nanos(0), limit: 1 };
    let found = session.client.query_movements(&filter).await?;
    Ok(found.first().map_or(end, |(number, _)| number.0))
}

fn print(number: MovementNumber, movement: &Movement, unit: Unit, shown: &Shown) -> Result<(), Failure> {
    let transfer = &movement.transfer;
    output::line(&format!(
        "{number:>8}  {}  {:<12}  {}  {} -> {}  {} {}",
        shown.time(movement.timestamp),
        movement.kind.name().trim_start_matches("two_phase_"),
        shown.id(transfer.id.0),
        shown.account(transfer.debit_account_id),
        shown.account(transfer.credit_account_id),
        unit.format(transfer.amount),
        unit.label()
    ))
}
