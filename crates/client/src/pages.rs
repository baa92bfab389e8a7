//! Long answers in pages: each page is requested when the previous one is used up.
//!
//! Rows are in the order of their timestamps, which are unique, so a page begins right after the last row of
//! the previous one: no row comes twice and none is left out, also while new rows are being written.

use std::collections::VecDeque;

use bezant_types::{
    AccountBalance, AccountFilter, AccountView, HoldFilter, HoldPlace, Movement, MovementNumber, Nanos,
    QueryFilter, TransferView,
};

use crate::{Client, ClientError};

/// A query that is answered in pages. Only the types of this module implement it.
pub trait PagedQuery: Sized + sealed::Sealed {
    /// A row of the answer.
    type Row;

    /// Reads one page.
    #[doc(hidden)]
    fn fetch(&self, client: &Client) -> impl Future<Output = Result<Vec<Self::Row>, ClientError>> + Send;

    /// The query for the rows after `last`; `None` when there can be none.
    #[doc(hidden)]
    fn after(self, last: &Self::Row) -> Option<Self>;
}

mod sealed {
    /// Keeps other crates from implementing [`PagedQuery`](super::PagedQuery).
    pub trait Sealed {}
}

/// Rows of a long answer.
///
/// ```no_run
/// # async fn example(client: bezant_client::Client) -> Result<(), bezant_client::ClientError> {
/// use bezant_client::QueryFilter;
///
/// let mut transfers = client.query_transfers_paged(QueryFilter { code: 7, ..QueryFilter::default() });
/// while let Some(transfer) = transfers.next().await? {
///     println!("{} {}", transfer.transfer.id, transfer.transfer.amount);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pages<Query: PagedQuery> {
    client: Client,
    /// The query for the next page; `None` after the last page.
    query: Option<Query>,
    /// Rows that were read and are not yet returned.
    rows: VecDeque<Query::Row>,
}

impl<Query: PagedQuery> Pages<Query> {
    const fn new(client: Client, query: Query) -> Self {
        Self { client, query: Some(query), rows: VecDeque::new() }
    }

    /// The next row; `None` after the last one.
    pub async fn next(&mut self) -> Result<Option<Query::Row>, ClientError> {
        if self.rows.is_empty() {
            self.rows = self.next_page().await?.unwrap_or_default().into();
        }
        Ok(self.rows.pop_front())
    }

    /// The next page, never empty; `None` after the last one.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Query::Row>>, ClientError> {
        if !self.rows.is_empty() {
            return Ok(Some(self.rows.drain(..).collect()));
        }
        let Some(query) = self.query.take() else { return Ok(None) };
        let page = match query.fetch(&self.client).await {
            Ok(page) => page,
            Err(error) => {
                self.query = Some(query);
                return Err(error);
            }
        };
        let Some(last) = page.last() else { return Ok(None) };
        self.query = query.after(last);
        Ok(Some(page))
    }
}

/// Transfers of an account.
#[derive(Clone, Copy, Debug)]
pub struct AccountTransfers(AccountFilter);
/// Balances of an account.
#[derive(Clone, Copy, Debug)]
pub struct AccountBalances(AccountFilter);
/// Rows of an account's history.
#[derive(Clone, Copy, Debug)]
pub struct AccountMovements(AccountFilter);
/// Accounts whose fields match a filter.
#[derive(Clone, Copy, Debug)]
pub struct Accounts(QueryFilter);
/// Transfers whose fields match a filter.
#[derive(Clone, Copy, Debug)]
pub struct Transfers(QueryFilter);
/// Open holds.
#[derive(Clone, Copy, Debug)]
pub struct Holds(HoldFilter);
/// Rows of the whole history.
#[derive(Clone, Copy, Debug)]
pub struct Movements(MovementNumber);

impl Client {
    /// All transfers of an account that match the filter; the filter's limit is the size of a page, 0 =
    /// 8,189.
    pub fn account_transfers_paged(&self, filter: AccountFilter) -> Pages<AccountTransfers> {
        Pages::new(self.clone(), AccountTransfers(filter))
    }

    /// All balances of an account that match the filter; the filter's limit is the size of a page, 0 = 8,189.
    pub fn account_balances_paged(&self, filter: AccountFilter) -> Pages<AccountBalances> {
        Pages::new(self.clone(), AccountBalances(filter))
    }

    /// All rows of an account's history that match the filter; the filter's limit is the size of a page.
    pub fn account_movements_paged(&self, filter: AccountFilter) -> Pages<AccountMovements> {
        Pages::new(self.clone(), AccountMovements(filter))
    }

    /// All accounts that match the filter; the filter's limit is the size of a page, 0 = 8,189.
    pub fn query_accounts_paged(&self, filter: QueryFilter) -> Pages<Accounts> {
        Pages::new(self.clone(), Accounts(filter))
    }

    /// All transfers that match the filter; the filter's limit is the size of a page, 0 = 8,189.
    pub fn query_transfers_paged(&self, filter: QueryFilter) -> Pages<Transfers> {
        Pages::new(self.clone(), Transfers(filter))
    }

    /// All open holds that match the filter, the next to expire first; the filter's limit is the size of a
    /// page, 0 = 8,189.
    pub fn holds_paged(&self, filter: HoldFilter) -> Pages<Holds> {
        Pages::new(self.clone(), Holds(filter))
    }

    /// The whole history from row `from` to its present end.
    pub fn movements_paged(&self, from: MovementNumber) -> Pages<Movements> {
        Pages::new(self.clone(), Movements(from))
    }
}

macro_rules! paged {
    ($query:ty, $row:ty, $fetch:ident, $timestamp:expr) => {
        impl sealed::Sealed for $query {}

        impl PagedQuery for $query {
            type Row = $row;

            async fn fetch(&self, client: &Client) -> Result<Vec<$row>, ClientError> {
                client.$fetch(&self.0).await
            }

            fn after(self, last: &$row) -> Option<Self> {
                let timestamp: fn(&$row) -> Nanos = $timestamp;
                self.0.after(timestamp(last)).map(Self)
            }
        }
    };
}

paged!(AccountTransfers, TransferView, account_transfers, |row| row.transfer.timestamp);
paged!(AccountBalances, AccountBalance, account_balances, |row| row.timestamp);
paged!(AccountMovements, (MovementNumber, Movement), account_movements, |row| row.1.timestamp);
paged!(Accounts, AccountView, query_accounts, |row| row.account.timestamp);
paged!(Transfers, TransferView, query_transfers, |row| row.transfer.timestamp);

impl sealed::Sealed for Holds {}

impl PagedQuery for Holds {
    type Row = TransferView;

    async fn fetch(&self, client: &Client) -> Result<Vec<Self::Row>, ClientError> {
        client.holds(&self.0).await
    }

    fn after(self, last: &Self::Row) -> Option<Self> {
        Some(Self(HoldFilter { after: HoldPlace::of(&last.transfer), ..self.0 }))
    }
}

impl sealed::Sealed for Movements {}

impl PagedQuery for Movements {
    type Row = (MovementNumber, Movement);

    async fn fetch(&self, client: &Client) -> Result<Vec<Self::Row>, ClientError> {
        client.movements(self.0, 0).await
    }

    fn after(self, last: &Self::Row) -> Option<Self> {
        last.0.0.checked_add(1).map(|next| Self(MovementNumber(next)))
    }
}
