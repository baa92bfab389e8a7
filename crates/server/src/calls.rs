//! The table of the calls. gRPC's service and the labels of the metrics come from it.
//!
//! A row is the method in gRPC, which is also the name in the metrics of every protocol; its messages; its
//! name in [`Call`](crate::metrics::Call); and the module that answers it. `grpc` adds the calls that need
//! more than the message, `metrics` those that only other protocols have.

/// Passes the table to another macro.
macro_rules! with_calls {
    ($to:ident) => {
        $to! {
            submit(SubmitRequest) -> SubmitReply = Submit write,
            create_accounts(CreateAccountsRequest) -> EventsReply = CreateAccounts write,
            create_transfers(CreateTransfersRequest) -> EventsReply = CreateTransfers write,
            set_account_bounds(SetAccountBoundsRequest) -> EventsReply = SetAccountBounds write,
            set_account_name(SetAccountNameRequest) -> EventsReply = SetAccountName write,
            register_assets(RegisterAssetsRequest) -> EventsReply = RegisterAssets write,
            lookup_accounts(LookupAccountsRequest) -> AccountsReply = LookupAccounts read,
            lookup_transfers(LookupTransfersRequest) -> TransfersReply = LookupTransfers read,
            get_account_transfers(AccountFilter) -> TransfersReply = GetAccountTransfers read,
            get_account_balances(AccountFilter) -> AccountBalancesReply = GetAccountBalances read,
            query_accounts(QueryFilter) -> AccountsReply = QueryAccounts read,
            query_transfers(QueryFilter) -> TransfersReply = QueryTransfers read,
            list_holds(ListHoldsRequest) -> TransfersReply = ListHolds read,
            list_assets(ListAssetsRequest) -> ListAssetsReply = ListAssets read,
            get_books(GetBooksRequest) -> GetBooksReply = GetBooks books,
            get_ledger(GetLedgerRequest) -> GetLedgerReply = GetLedger books,
            get_cluster(GetClusterRequest) -> GetClusterReply = GetCluster read,
            change_cluster(ChangeClusterRequest) -> ChangeClusterReply = ChangeCluster write,
            get_movements(GetMovementsRequest) -> MovementsReply = GetMovements read,
            get_account_movements(AccountFilter) -> MovementsReply = GetAccountMovements read,
        }
    };
}
pub(crate) use with_calls;
