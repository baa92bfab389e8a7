//! `bezant verify`: recomputes hash chains and sums, from a running server or from an exported file.

use std::path::{Path, PathBuf};

use bezant_archive::{Broken, Covered, Scope, Verified, Walk};
use bezant_client::{AccountId, MovementNumber, QueryFilter};
use clap::{ArgGroup, Args};
use serde::Serialize;

use crate::exchange::export::all_rows_of;
use crate::exit::Failure;
use crate::json::Text;
use crate::output;
use crate::output::Format;
use crate::session::{Global, Session, parse_account_id};

/// What to verify.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["account", "all", "file"])))]
#[command(after_help = "Examples:
  bezant verify --all                     every chain and every balance of the server
  bezant verify alice                     the chains of one account
  bezant verify --file ledger.jsonl       an export, without a server
  bezant verify --file alice.csv --of alice

Ends with code 5 at the first row that does not follow from the rows before it, and names its \
number, its transfer and what differs. An export may be forged: it proves only as much as the heads that it is \
compared with. So keep the heads that `bezant account show` printed. \
A CSV file of one account needs --of, with the id or the name of that account (a name is looked up at the server): \
without it, the file is read as an export of all accounts, and the first gap in it counts as damage.")]
pub(crate) struct VerifyArgs {
    /// Id or name of the account whose chains to verify
    account: Option<String>,
    /// Verify all chains, balances and books of the server
    #[arg(long)]
    all: bool,
    /// Exported file to verify, packed with gzip or not
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Id or name of the account whose rows a CSV file holds; all accounts when not given
    #[arg(long, value_name = "ACCOUNT", requires = "file")]
    of: Option<String>,
}

/// The result of a verification without errors.
#[derive(Debug, Serialize)]
struct Report {
    movements: u64,
    transfers: u64,
    accounts: u64,
    /// False when the server took writes meanwhile, or the file was exported during writes. Then reserves
    /// were not compared.
    is_exact: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    chains: Vec<ChainReport>,
}

/// The lengths and heads of the two chains of an account.
#[derive(Debug, Serialize)]
struct ChainReport {
    account_id: Text<AccountId>,
    spends: u64,
    spends_head: Text<bezant_client::Head>,
    receipts: u64,
    receipts_head: Text<bezant_client::Head>,
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        Self::Verification(broken.to_string())
    }
}

/// Verifies the file, the account or the whole server.
pub(crate) async fn run(global: &Global, args: &VerifyArgs) -> Result<(), Failure> {
    let report = if let Some(path) = &args.file {
        let of = match &args.of {
            Some(text) => Some(account_of(global, text).await?),
            None => None,
        };
        verify_file(path, of)?
    } else {
        let session = Session::connect(global).await?;
        let report = match &args.account {
            Some(account) => verify_account(&session, account).await,
            None => verify_all(&session).await,
        };
        let end = session.end();
        let report = report?;
        end?;
        report
    };
    print(global.output, &report)
}

/// The id of the account of an exported file. Only a name is looked up at the server.
async fn account_of(global: &Global, text: &str) -> Result<AccountId, Failure> {
    if let Some(id) = parse_account_id(text)? {
        return Ok(id);
    }
    let session = Session::connect(global).await?;
    let view = session.account(text).await;
    let end = session.end();
    let id = view?.account.id;
    end.map(|()| id)
}

impl Report {
    fn new(covered: Covered, is_exact: bool) -> Self {
        let Covered { movements, transfers, accounts } = covered;
        Self { movements, transfers, accounts, is_exact, chains: Vec::new() }
    }

    /// The report with the heads of one account.
    fn with_chains(mut self, walk: &Walk, id: AccountId) -> Self {
        if let Some((spends, receipts)) = walk.chains(id) {
            self.chains.push(ChainReport {
                account_id: Text(id),
                spends: spends.sequence,
                spends_head: Text(spends.head),
                receipts: receipts.sequence,
                receipts_head: Text(receipts.head),
            });
        }
        self
    }
}

async fn verify_all(session: &Session) -> Result<Report, Failure> {
    let before = session.client.books().await?;
    let mut walk = Walk::new(Scope::All, Vec::new())?;
    let mut pages = session.client.query_accounts_paged(QueryFilter::default());
    while let Some(view) = pages.next().await? {
        walk.expect(view)?;
    }
    let bar = output::progress(before.history.movements, "movements");
    let mut pages = session.client.movements_paged(MovementNumber(0));
    while let Some(page) = pages.next_page().await? {
        for (number, movement) in &page {
            walk.step(*number, movement)?;
        }
        bar.set_position(walk.movements());
    }
    bar.finish_and_clear();
    if walk.movements() < before.history.movements {
        let (walked, promised) = (walk.movements(), before.history.movements);
        return Err(Failure::Verification(format!(
            "the history ends after {walked} of {promised} movements"
        )));
    }
    let is_exact = walk.movements() == before.history.movements;
    // An account may have been created after the list of accounts was read, but it must exist.
    let younger = walk.unknown_accounts();
    let found = session.client.lookup_accounts(&younger).await?;
    if let Some(missing) = younger.iter().find(|id| !found.iter().any(|view| view.account.id == **id)) {
        return Err(Failure::Verification(format!("account {missing} has movements but does not exist")));
    }
    let covered = walk.finish(is_exact)?;
    if let Some(totals) = before.ledgers.iter().find(|totals| !totals.is_balanced()) {
        return Err(Failure::Verification(format!("debits and credits of ledger {} differ", totals.ledger)));
    }
    Ok(Report::new(covered, is_exact))
}

async fn verify_account(session: &Session, text: &str) -> Result<Report, Failure> {
    let view = session.account(text).await?;
    let (id, filter) = (view.account.id, all_rows_of(&view));
    let mut walk = Walk::new(Scope::Account(id), vec![view])?;
    let bar = output::progress(0, "movements");
    let mut pages = session.client.account_movements_paged(filter);
    while let Some(page) = pages.next_page().await? {
        for (number, movement) in &page {
            walk.step(*number, movement)?;
        }
        bar.set_position(walk.movements());
    }
    bar.finish_and_clear();
    let covered = walk.finish(false)?;
    Ok(Report::new(covered, false).with_chains(&walk, id))
}

fn verify_file(path: &Path, of: Option<AccountId>) -> Result<Report, Failure> {
    let Verified { walk, account, covered, is_exact, .. } = bezant_archive::verify(path, of)?;
    let report = Report::new(covered, is_exact);
    Ok(match account {
        Some(id) => report.with_chains(&walk, id),
        None => report,
    })
}

fn print(format: Format, report: &Report) -> Result<(), Failure> {
    if format == Format::Json {
        return output::json(report);
    }
    let Report { movements, transfers, accounts, .. } = report;
    output::line(&format!(
        "verified: {transfers} transfers in {movements} movements, {accounts} accounts compared"
    ))?;
    for chain in &report.chains {
        output::line(&format!("spends   {} {}", chain.spends, chain.spends_head.0))?;
        output::line(&format!("receipts {} {}", chain.receipts, chain.receipts_head.0))?;
    }
    Ok(())
}
