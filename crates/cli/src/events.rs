//! `bezant events`: change events in commit order.

use bezant_client::{Movement, MovementNumber};
use clap::Args;

use crate::exit::Failure;
use crate::json::{MovementJson, moment};
use crate::money::Assets;
use crate::output;
use crate::output::Format;
use crate::session::Session;

/// Which events to show.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant events                             what happens from now on, until Ctrl-C
  bezant events --from 0                    everything, then what happens
  bezant events --from 0 --until-caught-up -o json
  bezant events --from 1200 --limit 10

Every event has a position. To resume, pass the last position seen plus one. A position after the end is an
error that names the end: the ledger was restored from an older copy, or the position is another ledger's.")]
pub(crate) struct EventsArgs {
    /// First position wanted; only new events when not given
    #[arg(long, value_name = "POSITION")]
    from: Option<u64>,
    /// End when all events that exist at the start have been shown
    #[arg(long)]
    until_caught_up: bool,
    /// End after so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// Shows them.
pub(crate) async fn run(session: &Session, args: &EventsArgs) -> Result<(), Failure> {
    let assets = session.assets().await?;
    let end = if args.until_caught_up { Some(session.client.books().await?.history.movements) } else { None };
    let from = args.from.or(end);
    let mut left = args.limit.unwrap_or(u64::MAX);
    // A position after the end is the server's to refuse.
    if left == 0 || (end.is_some() && from == end) {
        return Ok(());
    }
    let mut events = session.client.events(from.map(MovementNumber)).await?;
    while left > 0 && end.is_none_or(|end| events.position().0 < end) {
        let (number, movement) = tokio::select! {
            event = events.next() => event?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        print(session.output, number, &movement, assets)?;
        left -= 1;
    }
    Ok(())
}

fn print(
    format: Format,
    number: MovementNumber,
    movement: &Movement,
    assets: &Assets,
) -> Result<(), Failure> {
    let unit = assets.unit(movement.transfer.ledger);
    if format == Format::Json {
        return output::json(&MovementJson::new(number, movement, unit));
    }
    let transfer = &movement.transfer;
    output::line(&format!(
        "{number:>8}  {}  {:<18} {}  {} -> {}  {} {}",
        moment(movement.timestamp),
        movement.kind.name(),
        transfer.id,
        transfer.debit_account_id,
        transfer.credit_account_id,
        unit.format(transfer.amount),
        unit.label()
    ))
}
