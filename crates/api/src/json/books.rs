//! The books in JSON: totals of all accounts, a row for each ledger.

use bezant_types::{Books, LedgerTotals};
use serde::Serialize;
use utoipa::ToSchema;

use super::number::Text64;
use crate::assets::AssetBook;

/// Totals of the whole ledger.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BooksReply {
    /// Cluster time of the last applied entry, in nanoseconds since 1970.
    pub time: Text64,
    /// Number of accounts.
    pub accounts: u64,
    /// Number of rows of the history: transfers and expiries.
    pub movements: u64,
    /// Number of ids that refused transfers used up.
    pub refusals: u64,
    /// Number of pending transfers without post, void or expiry.
    pub pending: u64,
    /// True during an import: no imported pending transfer expires.
    pub expiry_paused: bool,
    /// True when debits equal credits in every ledger, which always holds.
    pub balanced: bool,
    /// One row a ledger.
    pub ledgers: Vec<LedgerReply>,
}

/// Totals of the accounts of one ledger: a row of the books.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LedgerReply {
    /// The ledger's number.
    pub ledger: u32,
    /// The code of the ledger's asset; null = the ledger has none.
    #[schema(required = true)]
    pub asset: Option<String>,
    /// The number of the asset's digits after the decimal point; null = the ledger has no asset.
    #[schema(required = true)]
    pub scale: Option<u8>,
    /// Number of accounts.
    pub accounts: u64,
    /// True when debits equal credits, which always holds.
    pub balanced: bool,
    /// The sums, in minor units.
    pub balances: TotalsReply,
}

/// Sums over the accounts of a ledger: each may be more than one account can hold.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TotalsReply {
    /// Reserved debits.
    #[schema(pattern = "^[0-9]{1,58}$")]
    pub debits_pending: String,
    /// Posted debits.
    #[schema(pattern = "^[0-9]{1,58}$")]
    pub debits_posted: String,
    /// Reserved credits.
    #[schema(pattern = "^[0-9]{1,58}$")]
    pub credits_pending: String,
    /// Posted credits.
    #[schema(pattern = "^[0-9]{1,58}$")]
    pub credits_posted: String,
    /// Posted credits minus posted debits, `0.00 EUR`; left out where the ledger has no asset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
}

impl LedgerReply {
    /// The totals as JSON.
    pub fn new(totals: &LedgerTotals, assets: &AssetBook) -> Self {
        let asset = assets.of(totals.ledger);
        Self {
            ledger: totals.ledger.0,
            asset: asset.map(|asset| asset.code.to_string()),
            scale: asset.map(|asset| asset.scale),
            accounts: totals.accounts,
            balanced: totals.is_balanced(),
            balances: TotalsReply {
                debits_pending: totals.debits_pending.to_string(),
                debits_posted: totals.debits_posted.to_string(),
                credits_pending: totals.credits_pending.to_string(),
                credits_posted: totals.credits_posted.to_string(),
                display: difference(totals, assets),
            },
        }
    }
}

impl BooksReply {
    /// The books as JSON.
    pub fn new(books: &Books, assets: &AssetBook) -> Self {
        Self {
            time: Text64(books.time.0),
            accounts: books.accounts,
            movements: books.history.movements,
            refusals: books.history.refusals,
            pending: books.pending,
            expiry_paused: books.expiry_is_paused,
            balanced: books.ledgers.iter().all(LedgerTotals::is_balanced),
            ledgers: books.ledgers.iter().map(|totals| LedgerReply::new(totals, assets)).collect(),
        }
    }
}

/// Posted credits minus posted debits of a ledger that has an asset; 0 in balanced books, however large the
/// sums are.
fn difference(totals: &LedgerTotals, assets: &AssetBook) -> Option<String> {
    let (credits, debits) = (totals.credits_posted, totals.debits_posted);
    if credits == debits {
        return assets.display_difference(totals.ledger, 0, 0);
    }
    assets.display_difference(totals.ledger, credits.to_u128()?, debits.to_u128()?)
}

#[cfg(test)]
mod tests {
    use bezant_types::{LedgerNumber, Total};

    use super::*;

    #[test]
    fn books_show_whether_expiry_is_paused() {
        for expiry_is_paused in [false, true] {
            let books = Books { expiry_is_paused, ..Books::default() };
            assert_eq!(crate::v1::GetBooksReply::from(books.clone()).expiry_paused, expiry_is_paused);
            let json = serde_json::to_value(BooksReply::new(&books, &AssetBook::default())).unwrap();
            assert_eq!(json["expiry_paused"], expiry_is_paused);
        }
    }

    #[test]
    fn books_show_sums_of_more_than_128_bits() {
        let sum = Total::from(u128::MAX).plus(u128::MAX);
        let totals = LedgerTotals {
            ledger: LedgerNumber(978),
            accounts: 4,
            debits_posted: sum,
            credits_posted: sum,
            ..LedgerTotals::default()
        };
        let json = |totals| {
            let books = Books { ledgers: vec![totals], ..Books::default() };
            serde_json::to_value(BooksReply::new(&books, &AssetBook::default())).unwrap()
        };
        let balances = json(totals)["ledgers"][0]["balances"].clone();
        assert_eq!(balances["debits_posted"], "680564733841876926926749214863536422910");
        assert_eq!((&balances["debits_pending"], &balances["display"]), (&"0".into(), &"0.00 EUR".into()));
        assert_eq!(json(totals)["balanced"], true);
        let row = json(totals)["ledgers"][0].clone();
        assert_eq!(
            (&row["asset"], &row["scale"], &row["balanced"]),
            (&"EUR".into(), &2.into(), &true.into())
        );
        let wrapped = LedgerTotals { credits_posted: Total::from(sum.low), ..totals };
        assert_eq!(json(wrapped)["balanced"], false, "equal only modulo 2^128");
        let message = crate::v1::LedgerTotals::from(totals);
        assert!(message.carries.is_some(), "the message has the bits above 128");
    }
}
