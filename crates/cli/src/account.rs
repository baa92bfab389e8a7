//! `bezant account`: create, show, list, history, holds, bounds, name.

use bezant_client::{
    AccountFilter, AccountFilterFlags, AccountFlags, AccountId, AccountView, Bounds, LedgerNumber, Movement,
    MovementNumber, Nanos, NewAccount, QueryFilter,
};
use clap::{ArgGroup, Args, Subcommand};

use crate::exit::Failure;
use crate::flags::parse_account_flags;
use crate::json::{AccountJson, BalanceJson, MovementJson, moment};
use crate::listing::{LimitArgs, RangeArgs, Shown, parse_time};
use crate::money::Unit;
use crate::output::{Align, Format};
use crate::pending_change::Change;
use crate::session::{Session, parse_account_id, parse_u128};
use crate::{output, transfer};

/// The subcommands of `bezant account`
#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Create an account
    Create(CreateArgs),
    /// Show accounts
    Show(ShowArgs),
    /// List accounts, filtered by their fields
    List(ListArgs),
    /// List the transfers of an account, with its balance after each
    History(HistoryArgs),
    /// List the open holds of an account: what is reserved and neither posted, voided nor expired
    Holds(HoldsArgs),
    /// Show or change the least and greatest balance of an account
    Bounds(BoundsArgs),
    /// Name an account that has no name
    Name(NameArgs),
}

/// The arguments of `bezant account create`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("holds").required(true).args(["asset", "ledger"])))]
#[command(after_help = "Examples:
  bezant account create alice --asset EUR
  bezant account create bank:cash --asset EUR --flags history
  bezant account create bob --asset EUR --min -500.00 --max 10000
  bezant account create --ledger 7 --code 20 --id 1001 --flags debits_must_not_exceed_credits

An id that is not given is drawn and printed. Flags: linked, debits_must_not_exceed_credits, \
credits_must_not_exceed_debits, history, imported, closed.")]
pub(crate) struct CreateArgs {
    /// Unique name, at most 64 bytes, not digits only
    name: Option<String>,
    /// Asset of the account, such as EUR
    #[arg(long, value_name = "CODE")]
    asset: Option<String>,
    /// Ledger number of the asset, such as 978
    #[arg(long, value_name = "N")]
    ledger: Option<u32>,
    /// Category that you choose, 1 to 65535
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    code: u16,
    /// Id; drawn when not given
    #[arg(long, value_name = "N", value_parser = parse_u128)]
    id: Option<u128>,
    /// Rules of the account, separated by commas
    #[arg(long, value_name = "FLAGS", value_parser = parse_account_flags, default_value = "")]
    flags: AccountFlags,
    /// Least balance, such as -500.00; none = no limit
    #[arg(long, value_name = "AMOUNT", allow_hyphen_values = true)]
    min: Option<String>,
    /// Greatest balance; none = no limit
    #[arg(long, value_name = "AMOUNT", allow_hyphen_values = true)]
    max: Option<String>,
    /// Key that you choose, 128 bits
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = parse_u128)]
    user_data_128: u128,
    /// Key that you choose, 64 bits
    #[arg(long, default_value_t = 0, value_name = "N")]
    user_data_64: u64,
    /// Key that you choose, 32 bits
    #[arg(long, default_value_t = 0, value_name = "N")]
    user_data_32: u32,
}

/// The arguments of `bezant account show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant account show alice
  bezant account show 1001 bob -o json
  bezant account show alice --at 2026-11-01        the balance with which the day began")]
pub(crate) struct ShowArgs {
    /// Ids or names
    #[arg(required = true, value_name = "ACCOUNT")]
    accounts: Vec<String>,
    /// Only the balance at that moment: 2026-11-01 (midnight UTC), 2026-11-01T09:30:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<Nanos>,
}

/// The arguments of `bezant account list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant account list
  bezant account list --asset EUR --code 20 --limit 100
  bezant account list --reverse --limit 1 -o json")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    query: transfer::QueryArgs,
}

/// The arguments of `bezant account history`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant account history alice
  bezant account history alice --debits --reverse --limit 10
  bezant account history alice --since 2026-11-01 --until 2026-12-01 --limit 0
  bezant account history 1001 -o json")]
pub(crate) struct HistoryArgs {
    /// Id or name
    account: String,
    /// Only transfers that debit it
    #[arg(long, conflicts_with = "credits")]
    debits: bool,
    /// Only transfers that credit it
    #[arg(long)]
    credits: bool,
    /// Only transfers of that category, 1 to 65535
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    code: Option<u16>,
    #[command(flatten)]
    range: RangeArgs,
    #[command(flatten)]
    limit: LimitArgs,
}

/// The arguments of `bezant account holds`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant account holds alice
  bezant account holds 1001 -o json

The hold that expires next comes first; holds that never expire come last.")]
pub(crate) struct HoldsArgs {
    /// Id or name
    account: String,
    /// The most rows to list; 0 = all
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u64,
    /// Show whole ids, names and times
    #[arg(long)]
    wide: bool,
}

/// The arguments of `bezant account bounds`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant account bounds alice
  bezant account bounds alice --min -500.00
  bezant account bounds alice --min 0 --max none

The balance is credits minus debits, counting what is reserved. A side that is not \
given stays as it is. A new bound may exclude the balance: an account under its minimum \
pays nothing, over its maximum it receives nothing.")]
pub(crate) struct BoundsArgs {
    /// Id or name
    account: String,
    /// Least balance; none = no limit
    #[arg(long, value_name = "AMOUNT", allow_hyphen_values = true)]
    min: Option<String>,
    /// Greatest balance; none = no limit
    #[arg(long, value_name = "AMOUNT", allow_hyphen_values = true)]
    max: Option<String>,
}

/// The arguments of `bezant account name`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  bezant account name 1001 users:alice:main")]
pub(crate) struct NameArgs {
    /// Id or name
    account: String,
    /// Unique name, at most 64 bytes, not digits only
    name: String,
}

impl AccountCommand {
    /// Runs the command.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Create(args) => create(session, args).await,
            Self::Show(args) => show(session, &args).await,
            Self::List(args) => list(session, &args).await,
            Self::History(args) => history(session, &args).await,
            Self::Holds(args) => {
                let account = session.account(&args.account).await?.account;
                let limit = LimitArgs { limit: args.limit, reverse: false, wide: args.wide };
                transfer::list_holds(session, account.id, limit).await
            }
            Self::Bounds(args) => bounds(session, &args).await,
            Self::Name(args) => name(session, &args).await,
        }
    }
}

async fn create(session: &Session, args: CreateArgs) -> Result<(), Failure> {
    if args.name.as_deref() == Some("") {
        return Err(Failure::Usage(
            "an account has no empty name: leave NAME out for one without".to_owned(),
        ));
    }
    let assets = session.assets().await?;
    let unit = match (&args.asset, args.ledger) {
        (Some(code), _) => assets.by_code(code)?,
        (None, ledger) => assets.unit(LedgerNumber(ledger.unwrap_or(0))),
    };
    let id = args.id.map_or_else(|| session.ids.account_id(), AccountId);
    let mut new = NewAccount::new(id, unit.ledger.0, args.code)
        .flags(args.flags)
        .bounds(unit.parse_bounds(args.min.as_deref(), args.max.as_deref(), Bounds::NONE)?)
        .name(args.name.unwrap_or_default());
    new.account.user_data_128 = args.user_data_128;
    new.account.user_data_64 = args.user_data_64;
    new.account.user_data_32 = args.user_data_32;
    session.changes.begin(Change::of("account", id.0));
    let (outcome, detail) = session.client.create_account_explained(&new).await?;
    if !outcome.is_done() {
        return Err(Failure::refused(
            outcome.status.name(),
            &format!("{} {detail}", outcome.status.meaning()),
        ));
    }
    session.changes.is_made();
    show_one(session, &session.account(&id.to_string()).await?).await
}

async fn show(session: &Session, args: &ShowArgs) -> Result<(), Failure> {
    for (index, text) in args.accounts.iter().enumerate() {
        if index > 0 && session.output == Format::Table {
            output::line("")?;
        }
        let view = session.account(text).await?;
        match args.at {
            Some(at) => show_at(session, &view, at).await?,
            None => show_one(session, &view).await?,
        }
    }
    Ok(())
}

/// The balance of an account after its last movement before `at`.
async fn show_at(session: &Session, view: &AccountView, at: Nanos) -> Result<(), Failure> {
    let (account, unit) = (&view.account, session.unit(view.account.ledger).await?);
    if account.timestamp >= at {
        let (id, created) = (account.id, moment(account.timestamp));
        return Err(Failure::NotFound(format!("account {id} was created later: {created}")));
    }
    let before = AccountFilter {
        account_id: account.id,
        timestamp_max: Nanos(at.0 - 1),
        limit: 1,
        flags: AccountFilterFlags { debits: true, credits: true, reversed: true },
        ..AccountFilter::default()
    };
    let last = session.client.account_movements(&before).await?.into_iter().next();
    let balances = last.and_then(|(_, movement)| movement.balances_of(account.id)).unwrap_or_default();
    if session.output == Format::Json {
        return output::json(&BalanceJson::new(account.id, balances, unit, at));
    }
    let sides = |posted, pending| format!("{} posted, {} pending", unit.format(posted), unit.format(pending));
    output::fields(&[
        ("id", account.id.to_string()),
        ("name", or_dash(&view.name)),
        ("asset", unit.label()),
        ("balance", unit.format_difference(balances.credits_posted, balances.debits_posted)),
        ("debits", sides(balances.debits_posted, balances.debits_pending)),
        ("credits", sides(balances.credits_posted, balances.credits_pending)),
        ("at", moment(at)),
    ])
}

async fn show_one(session: &Session, view: &AccountView) -> Result<(), Failure> {
    let unit = session.unit(view.account.ledger).await?;
    if session.output == Format::Json {
        return output::json(&AccountJson::new(view, unit));
    }
    let account = &view.account;
    let (balance, flags) = (balance(view, unit), account.flags.names().collect::<Vec<_>>().join(", "));
    output::fields(&[
        ("id", account.id.to_string()),
        ("name", or_dash(&view.name)),
        ("asset", unit.label()),
        ("balance", balance),
        ("available", available(view, unit)),
        (
            "debits",
            format!(
                "{} posted, {} pending",
                unit.format(account.debits_posted),
                unit.format(account.debits_pending)
            ),
        ),
        (
            "credits",
            format!(
                "{} posted, {} pending",
                unit.format(account.credits_posted),
                unit.format(account.credits_pending)
            ),
        ),
        (
            "bounds",
            format!(
                "{} to {}",
                unit.format_bound(view.bounds.minimum),
                unit.format_bound(view.bounds.maximum)
            ),
        ),
        ("code", account.code.to_string()),
        ("flags", or_dash(&flags)),
        ("user data", format!("{} {} {}", account.user_data_128, account.user_data_64, account.user_data_32)),
        ("spends", format!("{} {}", view.spends.sequence, view.spends.head)),
        ("receipts", format!("{} {}", view.receipts.sequence, view.receipts.head)),
        ("created", moment(account.timestamp)),
    ])
}

/// Posted credits minus posted debits.
fn balance(view: &AccountView, unit: Unit) -> String {
    unit.format_difference(view.account.credits_posted, view.account.debits_posted)
}

/// The largest amount that one debit may take now.
fn available(view: &AccountView, unit: Unit) -> String {
    view.available().map_or_else(|| "no limit".to_owned(), |amount| unit.format(amount))
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

async fn list(session: &Session, args: &ListArgs) -> Result<(), Failure> {
    let assets = session.assets().await?;
    let filter: QueryFilter = args.query.filter(assets)?;
    let pages = session.client.query_accounts_paged(filter);
    let shown = Shown::new(args.query.limit.wide);
    let mut rows = Vec::new();
    let each = |view: AccountView| {
        let unit = assets.unit(view.account.ledger);
        if session.output == Format::Json {
            return output::json(&AccountJson::new(&view, unit));
        }
        rows.push(vec![
            shown.id(view.account.id.0),
            or_dash(&shown.name(&view.name)),
            balance(&view, unit),
            available(&view, unit),
            unit.label(),
            view.account.code.to_string(),
            or_dash(&view.account.flags.names().collect::<Vec<_>>().join(",")),
        ]);
        Ok(())
    };
    let end = args.query.limit.each(pages, each).await?;
    if session.output == Format::Json {
        return end.report(session.output);
    }
    let headings = [
        ("ID", Align::Left),
        ("NAME", Align::Left),
        ("BALANCE", Align::Right),
        ("AVAILABLE", Align::Right),
        ("ASSET", Align::Left),
        ("CODE", Align::Right),
        ("FLAGS", Align::Left),
    ];
    output::table(&headings, &rows, "no accounts")?;
    end.report(session.output)
}

async fn history(session: &Session, args: &HistoryArgs) -> Result<(), Failure> {
    let view = session.account(&args.account).await?;
    let unit = session.unit(view.account.ledger).await?;
    let id = view.account.id;
    let has_side = args.debits || args.credits;
    let (timestamp_min, timestamp_max) = args.range.timestamps()?;
    let filter = AccountFilter {
        account_id: id,
        code: args.code.unwrap_or(0),
        timestamp_min,
        timestamp_max,
        limit: args.limit.page(),
        flags: AccountFilterFlags {
            debits: args.debits || !has_side,
            credits: args.credits || !has_side,
            reversed: args.limit.reverse,
        },
        ..AccountFilter::default()
    };
    let pages = session.client.account_movements_paged(filter);
    let mut found: Vec<Movement> = Vec::new();
    let each = |(number, movement): (MovementNumber, Movement)| {
        if session.output == Format::Json {
            return output::json(&MovementJson::new(number, &movement, unit));
        }
        found.push(movement);
        Ok(())
    };
    let end = args.limit.each(pages, each).await?;
    if session.output == Format::Json {
        return end.report(session.output);
    }
    let mut shown = Shown::new(args.limit.wide);
    shown.learn(session, found.iter().map(|movement| counterpart(id, movement).1)).await?;
    let row = |movement: &Movement| {
        let (sign, other) = counterpart(id, movement);
        let after = movement.balances_of(id).unwrap_or_default();
        vec![
            shown.time(movement.timestamp),
            shown.id(movement.transfer.id.0),
            movement.kind.name().trim_start_matches("two_phase_").to_owned(),
            shown.account(other),
            unit.format_signed(sign, movement.transfer.amount),
            unit.format_difference(after.credits_posted, after.debits_posted),
        ]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    let headings = [
        ("TIME", Align::Left),
        ("TRANSFER", Align::Left),
        ("KIND", Align::Left),
        ("COUNTERPART", Align::Left),
        ("AMOUNT", Align::Right),
        ("BALANCE", Align::Right),
    ];
    output::table(&headings, &rows, "no transfers")?;
    end.report(session.output)
}

/// The direction of a movement for `account`, and the other account.
fn counterpart(account: AccountId, movement: &Movement) -> (&'static str, AccountId) {
    let transfer = &movement.transfer;
    if transfer.debit_account_id == account {
        ("-", transfer.credit_account_id)
    } else {
        ("+", transfer.debit_account_id)
    }
}

async fn bounds(session: &Session, args: &BoundsArgs) -> Result<(), Failure> {
    let view = session.account(&args.account).await?;
    let unit = session.unit(view.account.ledger).await?;
    let mut bounds = view.bounds;
    if args.min.is_some() || args.max.is_some() {
        session.changes.begin(Change::again(
            format!("the change of the bounds of account {}", args.account),
            vec![view.account.id.0],
        ));
        let wanted = unit.parse_bounds(args.min.as_deref(), args.max.as_deref(), bounds)?;
        let minimum = args.min.is_some().then_some(wanted.minimum);
        let maximum = args.max.is_some().then_some(wanted.maximum);
        let outcome = session.client.change_bounds(view.account.id, minimum, maximum).await?;
        if outcome.status != bezant_client::AccountChangeStatus::Created {
            return Err(Failure::refused(outcome.status.name(), outcome.status.meaning()));
        }
        session.changes.is_made();
        // Another client may have changed the side that was not given.
        bounds = session.account(&view.account.id.to_string()).await?.bounds;
    }
    if session.output == Format::Json {
        return output::json(&crate::json::AccountBoundsJson::new(view.account.id, bounds, unit));
    }
    output::fields(&[
        ("minimum", unit.format_bound(bounds.minimum)),
        ("maximum", unit.format_bound(bounds.maximum)),
        ("asset", unit.label()),
    ])
}

async fn name(session: &Session, args: &NameArgs) -> Result<(), Failure> {
    if parse_account_id(&args.name)?.is_some() {
        return Err(Failure::Usage("a name is not digits only: those are ids".to_owned()));
    }
    let view = session.account(&args.account).await?;
    session
        .changes
        .begin(Change::again(format!("the name of account {}", args.account), vec![view.account.id.0]));
    let outcome = session.client.set_name(view.account.id, &args.name).await?;
    if outcome.status != bezant_client::AccountChangeStatus::Created {
        return Err(Failure::refused(outcome.status.name(), outcome.status.meaning()));
    }
    session.changes.is_made();
    show_one(session, &session.account(&view.account.id.to_string()).await?).await
}
