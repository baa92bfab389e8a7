//! How large a load is, and which servers receive it.

use bezant_types::limits::EVENTS_MAX;

/// How large a load is. The same settings make the same load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Accounts to create, at least 2.
    pub accounts: u64,
    /// Transfers to send, at least 1.
    pub transfers: u64,
    /// Transfers per request, from 1 to [`EVENTS_MAX`].
    pub batch: u64,
    /// Clients, each with its own connection and one request in flight; at least 1.
    pub clients: u64,
    /// Order of the ids of the transfers.
    pub id_order: IdOrder,
    /// Share of the transfers that debit or credit account 0, in percent.
    pub hot_percent: u64,
    /// Gives the accounts the flag `history`.
    pub has_history: bool,
    /// Queries of each kind after the load.
    pub queries: u64,
    /// Seed of the generator.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            accounts: 10_000,
            transfers: 2_000_000,
            batch: EVENTS_MAX as u64,
            clients: 1,
            id_order: IdOrder::Sequential,
            hot_percent: 0,
            has_history: false,
            queries: 200,
            seed: 42,
        }
    }
}

/// The order of the ids of the transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IdOrder {
    /// Each id is greater than the previous one, as with ids that begin with the time.
    Sequential,
    /// Random ids.
    Random,
}

/// The servers that receive the load: at least one address of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Addresses for gRPC: the clients are spread over them, and queries go to the first that answers. Empty
    /// if the server has an address for TigerBeetle's protocol only.
    pub urls: Vec<String>,
    /// Address for TigerBeetle's protocol. If there is one, it receives the load.
    pub frames: Option<String>,
}

impl Target {
    /// True for several nodes: a request that one node cannot serve is repeated at another.
    pub(crate) fn is_cluster(&self) -> bool {
        self.urls.len() > 1
    }

    /// All addresses, as one text.
    pub(crate) fn name(&self) -> String {
        self.frames.clone().unwrap_or_else(|| self.urls.join(","))
    }

    /// The address to which client `number` sends its load.
    pub(crate) fn of(&self, number: u64) -> &str {
        let count = self.urls.len().max(1) as u64;
        let url = usize::try_from(number % count).ok().and_then(|at| self.urls.get(at));
        self.frames.as_deref().or_else(|| url.map(String::as_str)).unwrap_or_default()
    }
}
