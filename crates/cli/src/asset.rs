//! `bezant asset` and `bezant books`.

use bezant_client::{Asset, AssetStatus, LedgerNumber, LedgerTotals};
use clap::{Args, Subcommand};

use crate::exit::Failure;
use crate::json::{AssetJson, BooksJson, LedgerTotalsJson, moment};
use crate::money::{Assets, Unit};
use crate::output;
use crate::output::{Align, Format};
use crate::pending_change::Change;
use crate::session::Session;

/// The subcommands of `bezant asset`
#[derive(Debug, Subcommand)]
pub(crate) enum AssetCommand {
    /// List the built-in and the registered assets
    List(ListArgs),
    /// Give a ledger its code and scale
    Register(RegisterArgs),
}

/// The arguments of `bezant asset list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant asset list
  bezant asset list EUR USD -o json")]
pub(crate) struct ListArgs {
    /// Only assets with these codes
    codes: Vec<String>,
}

/// The arguments of `bezant asset register`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant asset register POINTS 100001 --scale 0
  bezant asset register BTC 100002 --scale 8      10.5 BTC are kept as 1050000000
  bezant asset register GEMS 840 --scale 0        in place of USD, while no account has 840")]
pub(crate) struct RegisterArgs {
    /// 1 to 16 upper-case letters, digits, '_', '-' or '.', letter first
    code: String,
    /// Ledger number; not 0, and not that of another asset in use
    ledger: u32,
    /// Digits after the decimal point, 0 to 38
    #[arg(long, default_value_t = 2, value_name = "N")]
    scale: u8,
}

impl AssetCommand {
    /// Runs the command.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List(args) => list(session, &args).await,
            Self::Register(args) => register(session, &args).await,
        }
    }
}

async fn list(session: &Session, args: &ListArgs) -> Result<(), Failure> {
    let assets = session.assets().await?;
    let mut wanted: Vec<Asset> = assets.all().to_vec();
    if !args.codes.is_empty() {
        wanted.clear();
        for code in &args.codes {
            wanted.extend(assets.by_code(code)?.asset);
        }
    }
    if session.output == Format::Json {
        return wanted.iter().try_for_each(|asset| output::json(&AssetJson::from(asset)));
    }
    let rows: Vec<_> = wanted
        .iter()
        .map(|asset| vec![asset.code.to_string(), asset.ledger.to_string(), asset.scale.to_string()])
        .collect();
    let headings = [("CODE", Align::Left), ("LEDGER", Align::Right), ("SCALE", Align::Right)];
    output::table(&headings, &rows, "no assets")
}

async fn register(session: &Session, args: &RegisterArgs) -> Result<(), Failure> {
    let code = args.code.parse().map_err(|error| Failure::Usage(format!("{:?}: {error}", args.code)))?;
    let asset = Asset { ledger: LedgerNumber(args.ledger), code, scale: args.scale };
    session.changes.begin(Change::again(format!("asset {}", asset.code), vec![args.ledger.into()]));
    let outcome = session.client.register_asset(asset).await?;
    if !matches!(outcome.status, AssetStatus::Created | AssetStatus::Exists) {
        return Err(Failure::refused(outcome.status.name(), outcome.status.meaning()));
    }
    session.changes.is_made();
    if session.output == Format::Json {
        return output::json(&AssetJson::from(&asset));
    }
    output::line(&format!("{} is ledger {}, scale {}", asset.code, asset.ledger, asset.scale))
}

/// The message of `bezant books` about an import that has not ended.
const EXPIRY_IS_PAUSED: &str = "expiry is paused, since an import is under way: imported reserves do not expire; it ends with \
     the import, with the first transfer that is not imported, or with `bezant import resume-expiry`";

/// The arguments of `bezant books`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant books
  bezant books EUR
  bezant books -o json

Ends with code 5 if debits and credits of any ledger differ.")]
pub(crate) struct BooksArgs {
    /// Only this ledger: its number, or the code of its asset
    ledger: Option<String>,
}

/// Prints the sums of every ledger; returns a failure when they do not balance.
pub(crate) async fn books(session: &Session, args: &BooksArgs) -> Result<(), Failure> {
    if let Some(text) = &args.ledger {
        return ledger(session, text).await;
    }
    let books = session.client.books().await?;
    let assets = session.assets().await?;
    if session.output == Format::Json {
        output::json(&BooksJson::new(&books, assets))?;
    } else {
        output::line(&format!(
            "{} accounts, {} movements, {} pending, {} refused, at {}",
            books.accounts,
            books.history.movements,
            books.pending,
            books.history.refusals,
            moment(books.time)
        ))?;
        if books.expiry_is_paused {
            output::line(EXPIRY_IS_PAUSED)?;
        }
        print_ledgers(&books.ledgers, assets)?;
    }
    check_balance(&books.ledgers)
}

/// Prints the sums of the ledger with that number or asset code; a failure when they do not balance.
async fn ledger(session: &Session, text: &str) -> Result<(), Failure> {
    let assets = session.assets().await?;
    let number = match text.parse() {
        Ok(number) => LedgerNumber(number),
        Err(_) => assets.by_code(text)?.ledger,
    };
    let (totals, asset) = session.client.ledger(number).await?;
    if session.output == Format::Json {
        output::json(&LedgerTotalsJson::new(&totals, Unit { ledger: number, asset }))?;
    } else {
        print_ledgers(&[totals], assets)?;
    }
    check_balance(&[totals])
}

fn print_ledgers(ledgers: &[LedgerTotals], assets: &Assets) -> Result<(), Failure> {
    let row = |totals: &LedgerTotals| {
        let unit = assets.unit(totals.ledger);
        vec![
            unit.label(),
            totals.accounts.to_string(),
            unit.format_total(totals.debits_posted),
            unit.format_total(totals.credits_posted),
            unit.format_total(totals.debits_pending),
            unit.format_total(totals.credits_pending),
            if totals.is_balanced() { "balanced" } else { "NOT BALANCED" }.to_owned(),
        ]
    };
    let headings = [
        ("ASSET", Align::Left),
        ("ACCOUNTS", Align::Right),
        ("DEBITS", Align::Right),
        ("CREDITS", Align::Right),
        ("PENDING DEBITS", Align::Right),
        ("PENDING CREDITS", Align::Right),
        ("", Align::Left),
    ];
    output::table(&headings, &ledgers.iter().map(row).collect::<Vec<_>>(), "no accounts yet")
}

/// A failure when debits and credits of a ledger differ.
fn check_balance(ledgers: &[LedgerTotals]) -> Result<(), Failure> {
    match ledgers.iter().find(|totals| !totals.is_balanced()) {
        None => Ok(()),
        Some(totals) => {
            Err(Failure::Verification(format!("debits and credits of ledger {} differ", totals.ledger)))
        }
    }
}
