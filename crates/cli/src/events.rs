//! `bezant events`: change events in commit order.

use bezant_client::{ChangeEvent, EventsPage, Nanos, Position};
use clap::Args;
use serde::Serialize;

use crate::exit::Failure;
use crate::json::MovementJson;
use crate::listing::{Shown, parse_time};
use crate::money::Assets;
use crate::output;
use crate::output::Format;
use crate::session::Session;

/// Events of a page: small, so that the first are shown soon.
const PAGE: u32 = 512;

/// Which events to show.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant events                             what happens from now on, until Ctrl-C
  bezant events --from start                everything, then what happens
  bezant events --from start --until-caught-up -o json
  bezant events --since 2026-11-01 --until-caught-up
  bezant events --from e1AQEqlyg --limit 10

With -o json every event has a position. To resume after an event, pass its position. The position after the last \
event is on stderr, too. A position after the end is an error that names the end. Then the ledger was restored \
from an older copy, or the position is another ledger's. The number in front of an event is that of its row, as in \
exports and in the messages of `bezant verify`.")]
pub(crate) struct EventsArgs {
    /// Where to begin: the position of an event, start, or now [default: now]
    #[arg(long, value_name = "POSITION", value_parser = parse_position)]
    from: Option<Position>,
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

/// Parses a position on the command line.
fn parse_position(text: &str) -> Result<Position, String> {
    text.parse().map_err(|error: bezant_api::token::TokenError| error.to_string())
}

/// Shows the events, until the limit, the end or Ctrl-C.
pub(crate) async fn run(session: &Session, args: &EventsArgs) -> Result<(), Failure> {
    let default = || if args.since.is_some() { Position::start() } else { Position::now() };
    let mut shower = Shower {
        session,
        assets: session.assets().await?,
        shown: Shown::new(args.wide),
        left: args.limit.filter(|limit| *limit > 0).unwrap_or(u64::MAX),
        position: args.from.clone().unwrap_or_else(default),
    };
    let begun = shower.position.clone();
    let shown = tokio::select! {
        shown = shower.show(args) => shown,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    // A position that the server refused is nothing to continue from.
    if shown.is_ok() || shower.position != begun {
        shower.end()?;
    }
    shown
}

/// The JSON note after the events.
#[derive(Debug, Serialize)]
struct Next<'position> {
    next: &'position str,
}

/// Shows events.
struct Shower<'session> {
    session: &'session Session,
    assets: &'session Assets,
    shown: Shown,
    /// The most events to show yet.
    left: u64,
    /// The position after the last event.
    position: Position,
}

impl Shower<'_> {
    async fn show(&mut self, args: &EventsArgs) -> Result<(), Failure> {
        if args.until_caught_up {
            // All events that exist by now are not later than the books.
            let end = self.session.client.books().await?.time;
            return self.show_pages(args.since.unwrap_or(Nanos(0)), end).await;
        }
        if let Some(since) = args.since {
            self.show_pages(since, Nanos(0)).await?;
        }
        self.follow().await
    }

    /// Shows the events that exist, in a range of time; 0 = no end.
    async fn show_pages(&mut self, timestamp_min: Nanos, timestamp_max: Nanos) -> Result<(), Failure> {
        while self.left > 0 {
            let limit = u32::try_from(self.left).unwrap_or(PAGE).min(PAGE);
            let page = self.session.client.events_page(&self.position, timestamp_min, timestamp_max, limit);
            let EventsPage { events, next, has_more } = page.await?;
            for event in &events {
                self.print(event).await?;
            }
            self.position = next;
            if !has_more {
                break;
            }
        }
        Ok(())
    }

    /// Shows the events from the position on, and new ones as they come.
    async fn follow(&mut self) -> Result<(), Failure> {
        if self.left == 0 {
            return Ok(());
        }
        let mut events = self.session.client.events(&self.position).await?;
        self.position = events.position().clone();
        while self.left > 0 {
            let event = events.next().await?;
            self.print(&event).await?;
        }
        Ok(())
    }

    async fn print(&mut self, event: &ChangeEvent) -> Result<(), Failure> {
        let (transfer, unit) = (&event.movement.transfer, self.assets.unit(event.movement.transfer.ledger));
        if self.session.output == Format::Json {
            output::json(&MovementJson::of_event(event, unit))?;
        } else {
            let (debit, credit) = (transfer.debit_account_id, transfer.credit_account_id);
            self.shown.learn(self.session, [debit, credit]).await?;
            output::line(&format!(
                "{:>8}  {}  {:<12}  {}  {} -> {}  {} {}",
                event.number,
                self.shown.time(event.movement.timestamp),
                event.movement.kind.name().trim_start_matches("two_phase_"),
                self.shown.id(transfer.id.0),
                self.shown.account(debit),
                self.shown.account(credit),
                unit.format(transfer.amount),
                unit.label()
            ))?;
        }
        self.position.clone_from(&event.position);
        self.left -= 1;
        Ok(())
    }

    /// Reports on stderr where to continue.
    fn end(&self) -> Result<(), Failure> {
        if self.session.output == Format::Json {
            return output::note_json(&Next { next: self.position.as_str() });
        }
        output::note(&format!("to continue: --from {}", self.position));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_no_position() {
        assert_eq!(parse_position("start"), Ok(Position::start()));
        assert!(parse_position("e1AQEqlyg").is_ok());
        let error = parse_position("41").unwrap_err();
        assert!(error.contains("use the `position` of an event, or `start`"), "{error}");
    }
}
