//! `bezant transfer` and `bezant pay`: create, show, list, post, void.

use bezant_client::{
    AccountId, AccountView, Head, HoldFilter, HoldState, LedgerNumber, NewTransfer, QueryFilter, Transfer,
    TransferFlags, TransferId, TransferView,
};
use clap::{Args, Subcommand};

use crate::exit::Failure;
use crate::flags::parse_transfer_flags;
use crate::json::{TransferJson, moment};
use crate::listing::{LimitArgs, RangeArgs, Shown};
use crate::money::{Assets, Unit, split_amount};
use crate::output;
use crate::output::{Align, Format};
use crate::pending_change::Change;
use crate::session::{Session, parse_seconds, parse_u128};

/// The subcommands of `bezant transfer`
#[derive(Debug, Subcommand)]
pub(crate) enum TransferCommand {
    /// Create a transfer
    Create(CreateArgs),
    /// Show transfers
    Show(ShowArgs),
    /// List transfers, filtered by their fields
    List(ListArgs),
    /// Move what a pending transfer reserved
    Post(PostArgs),
    /// Release what a pending transfer reserved
    Void(VoidArgs),
}

/// The arguments of `bezant pay`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant pay alice bob 10.50 EUR
  bezant pay alice bob 10.50
  bezant pay 1001 1002 3 --id 77        the same id again pays only once")]
pub(crate) struct PayArgs {
    /// Account that pays: id or name
    from: String,
    /// Account that is paid: id or name
    to: String,
    /// Amount, such as 10.50
    #[arg(allow_negative_numbers = true)]
    amount: String,
    /// Asset of the amount, such as EUR; that of the accounts when not given
    asset: Option<String>,
    /// Id; drawn when not given
    #[arg(long, value_name = "N", value_parser = parse_u128)]
    id: Option<u128>,
    /// Category that you choose, 1 to 65535
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    code: u16,
}

/// The arguments of `bezant transfer create`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant transfer create alice bob 10.50 EUR
  bezant transfer create alice bob 10.50 EUR --pending --expires-in 1h
  bezant transfer create alice bob 99999 --flags balancing_debit
  bezant transfer create alice bob 1 --prev-hash HEAD    only if no other spend came first

Flags: linked, pending, balancing_debit, balancing_credit, closing_debit, closing_credit, \
imported. What is pending is ended with `bezant transfer post` and `bezant transfer void`; a chain of linked \
transfers comes from a file (`bezant import transfers`).")]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pay: PayArgs,
    /// Reserve the amount: post or void it later
    #[arg(long)]
    pending: bool,
    /// Time until a pending transfer expires, in whole seconds: 90, 15m, 1h, 7d; 0 = never
    #[arg(long, default_value = "0", value_name = "TIME", value_parser = parse_seconds)]
    expires_in: u32,
    /// Kind of the transfer, separated by commas
    #[arg(long, value_name = "FLAGS", value_parser = parse_transfer_flags, default_value = "")]
    flags: TransferFlags,
    /// Head of the payer's spends that must still be the newest, 64 hexadecimal digits
    #[arg(long, value_name = "HEAD", value_parser = parse_head)]
    prev_hash: Option<Head>,
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

/// The arguments of `bezant transfer show`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  bezant transfer show 77 78 -o json")]
pub(crate) struct ShowArgs {
    /// Ids
    #[arg(required = true, value_name = "ID", value_parser = parse_u128)]
    ids: Vec<u128>,
}

/// The arguments of `bezant transfer list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant transfer list --reverse --limit 10
  bezant transfer list --since 2026-11-01 --until 2026-12-01
  bezant transfer list --asset EUR --code 7 --limit 0 -o json
  bezant transfer list --pending        open holds, the next to expire first")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    query: QueryArgs,
    /// Only open holds: what is reserved and neither posted, voided nor expired
    #[arg(
        long,
        conflicts_with_all = ["asset", "ledger", "code", "user_data_128", "user_data_64", "user_data_32", "reverse"]
    )]
    pending: bool,
}

/// Filters of the commands that list accounts or transfers.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// Only of that asset, such as EUR
    #[arg(long, value_name = "CODE", conflicts_with = "ledger")]
    asset: Option<String>,
    /// Only of that ledger number, from 1 on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    ledger: Option<u32>,
    /// Only of that category, 1 to 65535
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    code: Option<u16>,
    /// Only with this key of 128 bits; 0 = any
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N", value_parser = parse_u128)]
    user_data_128: u128,
    /// Only with this key of 64 bits; 0 = any
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    user_data_64: u64,
    /// Only with this key of 32 bits; 0 = any
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    user_data_32: u32,
    #[command(flatten)]
    range: RangeArgs,
    #[command(flatten)]
    pub(crate) limit: LimitArgs,
}

/// The arguments of `bezant transfer post`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bezant transfer post 77             all that is reserved
  bezant transfer post 77 8.25 EUR    a part; the rest is released")]
pub(crate) struct PostArgs {
    /// Id of the pending transfer
    #[arg(value_parser = parse_u128)]
    pending_id: u128,
    /// Amount; all when not given
    #[arg(allow_negative_numbers = true)]
    amount: Option<String>,
    /// Asset of the amount
    asset: Option<String>,
    /// Id; drawn when not given
    #[arg(long, value_name = "N", value_parser = parse_u128)]
    id: Option<u128>,
}

/// The arguments of `bezant transfer void`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  bezant transfer void 77")]
pub(crate) struct VoidArgs {
    /// Id of the pending transfer
    #[arg(value_parser = parse_u128)]
    pending_id: u128,
    /// Id; drawn when not given
    #[arg(long, value_name = "N", value_parser = parse_u128)]
    id: Option<u128>,
}

impl TransferCommand {
    /// Runs the command.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Create(args) => create(session, &args).await,
            Self::Show(args) => show(session, &args).await,
            Self::List(args) => list(session, &args).await,
            Self::Post(args) => post(session, &args).await,
            Self::Void(args) => void(session, &args).await,
        }
    }
}

/// Runs `bezant pay`.
pub(crate) async fn pay(session: &Session, args: &PayArgs) -> Result<(), Failure> {
    let new = payment(session, args).await?;
    submit(session, new).await
}

async fn create(session: &Session, args: &CreateArgs) -> Result<(), Failure> {
    let mut new = payment(session, &args.pay).await?;
    let pending = if args.pending { TransferFlags::PENDING } else { TransferFlags::NONE };
    new.transfer.flags = args.flags.union(pending);
    new.transfer.timeout_seconds = args.expires_in;
    new.transfer.user_data_128 = args.user_data_128;
    new.transfer.user_data_64 = args.user_data_64;
    new.transfer.user_data_32 = args.user_data_32;
    new.prev_hash = args.prev_hash.unwrap_or(Head::NONE);
    submit(session, new).await
}

/// The transfer of the arguments, between accounts that exist and hold the asset.
async fn payment(session: &Session, args: &PayArgs) -> Result<NewTransfer, Failure> {
    let (amount, code) = split_amount(&args.amount, args.asset.as_deref())?;
    let assets = session.assets().await?;
    let asked = code.map(|code| assets.by_code(code)).transpose()?;
    let (from, to) = (session.account(&args.from).await?, session.account(&args.to).await?);
    let unit = asked.unwrap_or_else(|| assets.unit(from.account.ledger));
    for (text, view) in [(&args.from, &from), (&args.to, &to)] {
        holds(assets, text, view, unit)?;
    }
    let id = args.id.map_or_else(|| session.ids.transfer_id(), TransferId);
    let amount = unit.parse(amount)?;
    Ok(NewTransfer::new(id, from.account.id, to.account.id, amount, unit.ledger.0, args.code))
}

/// An error unless the account is in the ledger of `unit`.
fn holds(assets: &Assets, text: &str, view: &AccountView, unit: Unit) -> Result<(), Failure> {
    if view.account.ledger == unit.ledger {
        return Ok(());
    }
    let (holds, asked) = (assets.unit(view.account.ledger).label(), unit.label());
    Err(Failure::Usage(format!("account {text} holds {holds}, not {asked}")))
}

async fn submit(session: &Session, new: NewTransfer) -> Result<(), Failure> {
    session.changes.begin(Change::of("transfer", new.transfer.id.0));
    let (outcome, detail) = session.client.create_transfer_explained(&new).await?;
    if !outcome.is_done() {
        return Err(Failure::refused(
            outcome.status.name(),
            &format!("{} {detail}", outcome.status.meaning()),
        ));
    }
    session.changes.is_made();
    show_one(session, &find(session, new.transfer.id).await?).await
}

async fn find(session: &Session, id: TransferId) -> Result<TransferView, Failure> {
    let found = session.client.lookup_transfers(&[id]).await?;
    found.first().copied().ok_or_else(|| Failure::NotFound(format!("there is no transfer {id}")))
}

async fn show(session: &Session, args: &ShowArgs) -> Result<(), Failure> {
    for (index, id) in args.ids.iter().enumerate() {
        if index > 0 && session.output == Format::Table {
            output::line("")?;
        }
        show_one(session, &find(session, TransferId(*id)).await?).await?;
    }
    Ok(())
}

async fn show_one(session: &Session, view: &TransferView) -> Result<(), Failure> {
    let transfer = &view.transfer;
    let unit = session.unit(transfer.ledger).await?;
    if session.output == Format::Json {
        return output::json(&TransferJson::of(view, unit));
    }
    let flags = transfer.flags.names().collect::<Vec<_>>().join(", ");
    let mut shown = Shown::new(true);
    shown.learn(session, [transfer.debit_account_id, transfer.credit_account_id]).await?;
    let mut fields = vec![
        ("id", transfer.id.to_string()),
        ("from", shown.account_and_id(transfer.debit_account_id)),
        ("to", shown.account_and_id(transfer.credit_account_id)),
        ("amount", format!("{} {}", unit.format(transfer.amount), unit.label())),
        ("code", transfer.code.to_string()),
        ("flags", if flags.is_empty() { "-".to_owned() } else { flags }),
    ];
    if transfer.pending_id.0 != 0 {
        fields.push(("pending id", transfer.pending_id.to_string()));
    }
    if let Some(hold) = &view.hold {
        fields.push(("state", hold.state.name().to_owned()));
        if hold.state == HoldState::Posted {
            fields.push(("captured", format!("{} {}", unit.format(hold.captured), unit.label())));
        }
        if hold.resolved_by.0 != 0 {
            fields.push(("resolved by", hold.resolved_by.to_string()));
        }
        if hold.resolved_at.0 != 0 {
            fields.push(("resolved", moment(hold.resolved_at)));
        }
    }
    if let Some(expires_at) = transfer.expires_at() {
        fields.push(("expires", moment(expires_at)));
    }
    let data = format!("{} {} {}", transfer.user_data_128, transfer.user_data_64, transfer.user_data_32);
    fields.push(("user data", data));
    fields.push(("time", moment(transfer.timestamp)));
    output::fields(&fields)
}

async fn list(session: &Session, args: &ListArgs) -> Result<(), Failure> {
    let assets = session.assets().await?;
    if args.pending {
        return list_holds(session, AccountId(0), args.query.limit).await;
    }
    let pages = session.client.query_transfers_paged(args.query.filter(assets)?);
    let mut found: Vec<TransferView> = Vec::new();
    let each = |view: TransferView| {
        if session.output == Format::Json {
            return output::json(&TransferJson::of(&view, assets.unit(view.transfer.ledger)));
        }
        found.push(view);
        Ok(())
    };
    let end = args.query.limit.each(pages, each).await?;
    if session.output == Format::Json {
        return end.report(session.output);
    }
    let mut shown = Shown::new(args.query.limit.wide);
    let accounts =
        found.iter().flat_map(|row| [row.transfer.debit_account_id, row.transfer.credit_account_id]);
    shown.learn(session, accounts).await?;
    let row = |view: &TransferView| {
        let transfer = &view.transfer;
        let unit = assets.unit(transfer.ledger);
        // The state of a hold replaces the flag `pending`: it contains more.
        let flags = transfer.flags.names().filter(|flag| *flag != "pending" || view.hold.is_none());
        let state = view.hold.map(|hold| hold.state.name());
        vec![
            shown.time(transfer.timestamp),
            shown.id(transfer.id.0),
            shown.account(transfer.debit_account_id),
            shown.account(transfer.credit_account_id),
            unit.format(transfer.amount),
            unit.label(),
            state.into_iter().chain(flags).collect::<Vec<_>>().join(","),
        ]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    let headings = [
        ("TIME", Align::Left),
        ("ID", Align::Left),
        ("FROM", Align::Left),
        ("TO", Align::Left),
        ("AMOUNT", Align::Right),
        ("ASSET", Align::Left),
        ("FLAGS", Align::Left),
    ];
    output::table(&headings, &rows, "no transfers")?;
    end.report(session.output)
}

/// Prints the open holds of an account, 0 = of all accounts: the next to expire first.
pub(crate) async fn list_holds(
    session: &Session,
    account_id: AccountId,
    limit: LimitArgs,
) -> Result<(), Failure> {
    let assets = session.assets().await?;
    let filter = HoldFilter { account_id, limit: limit.page(), ..HoldFilter::default() };
    let mut found: Vec<Transfer> = Vec::new();
    let each = |view: TransferView| {
        if session.output == Format::Json {
            return output::json(&TransferJson::of(&view, assets.unit(view.transfer.ledger)));
        }
        found.push(view.transfer);
        Ok(())
    };
    let end = limit.each(session.client.holds_paged(filter), each).await?;
    if session.output == Format::Json {
        return end.report(session.output);
    }
    let mut shown = Shown::new(limit.wide);
    shown.learn(session, found.iter().flat_map(|row| [row.debit_account_id, row.credit_account_id])).await?;
    let row = |transfer: &Transfer| {
        let unit = assets.unit(transfer.ledger);
        vec![
            transfer.expires_at().map_or_else(|| "never".to_owned(), |at| shown.time(at)),
            shown.id(transfer.id.0),
            shown.account(transfer.debit_account_id),
            shown.account(transfer.credit_account_id),
            unit.format(transfer.amount),
            unit.label(),
        ]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    let headings = [
        ("EXPIRES", Align::Left),
        ("ID", Align::Left),
        ("FROM", Align::Left),
        ("TO", Align::Left),
        ("AMOUNT", Align::Right),
        ("ASSET", Align::Left),
    ];
    output::table(&headings, &rows, "no open holds")?;
    end.report(session.output)
}

async fn post(session: &Session, args: &PostArgs) -> Result<(), Failure> {
    let pending = find(session, TransferId(args.pending_id)).await?.transfer;
    let amount = match &args.amount {
        None => u128::MAX,
        Some(text) => {
            let (amount, code) = split_amount(text, args.asset.as_deref())?;
            let assets = session.assets().await?;
            let unit = assets.unit(pending.ledger);
            if code.map(|code| assets.by_code(code)).transpose()?.is_some_and(|asked| asked != unit) {
                let (id, label) = (pending.id, unit.label());
                return Err(Failure::Usage(format!(
                    "transfer {id} reserves {label}, not {}",
                    code.unwrap_or("")
                )));
            }
            unit.parse(amount)?
        }
    };
    let id = args.id.map_or_else(|| session.ids.transfer_id(), TransferId);
    submit(session, NewTransfer::post(id, pending.id, amount)).await
}

async fn void(session: &Session, args: &VoidArgs) -> Result<(), Failure> {
    // The transfer is looked up first, so that a wrong id of it does not use up a new id.
    let pending = find(session, TransferId(args.pending_id)).await?.transfer;
    let id = args.id.map_or_else(|| session.ids.transfer_id(), TransferId);
    submit(session, NewTransfer::void(id, pending.id)).await
}

fn parse_head(text: &str) -> Result<Head, String> {
    Head::from_hex(text)
        .ok_or_else(|| "a head is 64 hexadecimal digits, as `account show` prints it".to_owned())
}

impl QueryArgs {
    /// The filter, with pages no larger than the limit needs.
    pub(crate) fn filter(&self, assets: &Assets) -> Result<QueryFilter, Failure> {
        let (timestamp_min, timestamp_max) = self.range.timestamps()?;
        let ledger = match &self.asset {
            Some(code) => assets.by_code(code)?.ledger,
            None => LedgerNumber(self.ledger.unwrap_or(0)),
        };
        Ok(QueryFilter {
            user_data_128: self.user_data_128,
            user_data_64: self.user_data_64,
            user_data_32: self.user_data_32,
            ledger,
            code: self.code.unwrap_or(0),
            timestamp_min,
            timestamp_max,
            limit: self.limit.page(),
            reversed: self.limit.reverse,
        })
    }
}
