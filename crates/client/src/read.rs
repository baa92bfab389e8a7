//! Reads. By default a read sees every write that was acknowledged before the read began: see
//! [`crate::Reads`].

use bezant_api::v1;
use bezant_types::limits::RESULTS_MAX;
use bezant_types::{
    AccountBalance, AccountFilter, AccountId, AccountView, Asset, Books, HoldFilter, LedgerNumber,
    LedgerTotals, Movement, MovementFilter, MovementNumber, Nanos, QueryFilter, TransferId, TransferView,
};

use crate::{Client, ClientError, Position, convert};
use crate::{ClusterChange, ClusterReply};

impl Client {
    /// Accounts by id, in the order of the ids; unknown ids are left out.
    pub async fn lookup_accounts(&self, ids: &[AccountId]) -> Result<Vec<AccountView>, ClientError> {
        self.lookup_references(ids.iter().map(|id| convert::reference_by_id(*id)).collect()).await
    }

    /// Accounts by name, in the order of the names; unknown names are left out.
    pub async fn lookup_accounts_by_name(&self, names: &[&str]) -> Result<Vec<AccountView>, ClientError> {
        self.lookup_references(names.iter().map(|name| convert::reference_by_name(name)).collect()).await
    }

    async fn lookup_references(
        &self,
        references: Vec<v1::AccountRef>,
    ) -> Result<Vec<AccountView>, ClientError> {
        let mut views = Vec::with_capacity(references.len());
        for references in references.chunks(RESULTS_MAX) {
            let message = v1::LookupAccountsRequest { accounts: references.to_vec() };
            let answer = self
                .call(message, |mut service, request| async move { service.lookup_accounts(request).await })
                .await?;
            for view in answer.reply.accounts {
                views.push(convert::account_view(view)?);
            }
        }
        Ok(views)
    }

    /// Transfers by id, in the order of the ids, with the state of those that are pending; unknown ids are
    /// left out.
    pub async fn lookup_transfers(&self, ids: &[TransferId]) -> Result<Vec<TransferView>, ClientError> {
        let mut transfers = Vec::with_capacity(ids.len());
        for ids in ids.chunks(RESULTS_MAX) {
            let message =
                v1::LookupTransfersRequest { ids: ids.iter().map(|id| convert::uint128(id.0)).collect() };
            let answer = self
                .call(message, |mut service, request| async move { service.lookup_transfers(request).await })
                .await?;
            for transfer in &answer.reply.transfers {
                transfers.push(convert::transfer_view(transfer)?);
            }
        }
        Ok(transfers)
    }

    /// One page of an account's transfers; a limit of 0 means 8,189.
    pub async fn account_transfers(&self, filter: &AccountFilter) -> Result<Vec<TransferView>, ClientError> {
        let answer = self
            .call(convert::account_filter(filter), |mut service, request| async move {
                service.get_account_transfers(request).await
            })
            .await?;
        answer.reply.transfers.iter().map(convert::transfer_view).collect()
    }

    /// One page of an account's balances after each of its transfers; the account needs the flag history.
    pub async fn account_balances(&self, filter: &AccountFilter) -> Result<Vec<AccountBalance>, ClientError> {
        let answer = self
            .call(convert::account_filter(filter), |mut service, request| async move {
                service.get_account_balances(request).await
            })
            .await?;
        Ok(answer.reply.balances.iter().map(convert::account_balance).collect())
    }

    /// One page of an account's rows of the history, with the heads that their hashes cover.
    pub async fn account_movements(
        &self,
        filter: &AccountFilter,
    ) -> Result<Vec<(MovementNumber, Movement)>, ClientError> {
        let answer = self
            .call(convert::account_filter(filter), |mut service, request| async move {
                service.get_account_movements(request).await
            })
            .await?;
        convert::movements(&answer.reply)
    }

    /// One page of the accounts whose fields match the filter; a limit of 0 means 8,189.
    pub async fn query_accounts(&self, filter: &QueryFilter) -> Result<Vec<AccountView>, ClientError> {
        let answer = self
            .call(convert::query_filter(filter), |mut service, request| async move {
                service.query_accounts(request).await
            })
            .await?;
        answer.reply.accounts.into_iter().map(convert::account_view).collect()
    }

    /// One page of the transfers whose fields match the filter; a limit of 0 means 8,189.
    pub async fn query_transfers(&self, filter: &QueryFilter) -> Result<Vec<TransferView>, ClientError> {
        let answer = self
            .call(convert::query_filter(filter), |mut service, request| async move {
                service.query_transfers(request).await
            })
            .await?;
        answer.reply.transfers.iter().map(convert::transfer_view).collect()
    }

    /// One page of open holds, the next to expire first; a limit of 0 means 8,189.
    pub async fn holds(&self, filter: &HoldFilter) -> Result<Vec<TransferView>, ClientError> {
        let answer = self
            .call(convert::hold_filter(filter), |mut service, request| async move {
                service.list_holds(request).await
            })
            .await?;
        answer.reply.transfers.iter().map(convert::transfer_view).collect()
    }

    /// The built-in and the registered assets, in the order of their ledgers.
    pub async fn assets(&self) -> Result<Vec<Asset>, ClientError> {
        let answer = self
            .call(v1::ListAssetsRequest {}, |mut service, request| async move {
                service.list_assets(request).await
            })
            .await?;
        answer.reply.assets.iter().map(convert::asset).collect()
    }

    /// The totals of the whole ledger; in each row debits equal credits.
    pub async fn books(&self) -> Result<Books, ClientError> {
        let answer =
            self.call(v1::GetBooksRequest {}, |mut service, request| async move {
                service.get_books(request).await
            })
            .await?;
        Ok(convert::books(&answer.reply))
    }

    /// The totals of one ledger, and its asset where it has one; [`ClientError::NotFound`] for a ledger with
    /// neither an account nor an asset.
    pub async fn ledger(&self, ledger: LedgerNumber) -> Result<(LedgerTotals, Option<Asset>), ClientError> {
        let answer = self
            .call(v1::GetLedgerRequest { ledger: ledger.0 }, |mut service, request| async move {
                service.get_ledger(request).await
            })
            .await?;
        let missing = || ClientError::Protocol { reason: "an answer without totals".to_owned() };
        let totals = answer.reply.totals.as_ref().ok_or_else(missing)?;
        let asset = answer.reply.asset.as_ref().map(convert::asset).transpose()?;
        Ok((convert::ledger_totals(totals), asset))
    }

    /// The answering node and its replicas, one of each group, and the cluster as that node knows it. To read
    /// every node, use a client for each: a client with several addresses sends the call to the node that it
    /// is connected to.
    pub async fn cluster(&self) -> Result<ClusterReply, ClientError> {
        let answer = self
            .call(v1::GetClusterRequest {}, |mut service, request| async move {
                service.get_cluster(request).await
            })
            .await?;
        Ok(answer.reply)
    }

    /// Changes the members of the ledger's group, or transfers its leadership. The change is committed on
    /// return; the call is retried while another change is in progress. When an answer was lost, the next try
    /// may be refused with `member_exists` or `member_not_found`: then the change was made.
    ///
    /// A server that other machines can reach requires the cluster's token: see
    /// [`crate::ClientBuilder::token`].
    ///
    /// `address` is the address for the peers of a node that is added, and empty otherwise.
    pub async fn change_cluster(
        &self,
        change: ClusterChange,
        node: u64,
        address: &str,
    ) -> Result<u64, ClientError> {
        let address = address.to_owned();
        let message = v1::ChangeClusterRequest { change: change.into(), node, address, group: 0 };
        let ids = || vec![node.into()];
        let answer = self
            .call_change(message, ids, |mut service, mut request| {
                if let Some(token) = self.token() {
                    request.metadata_mut().insert("authorization", token.clone());
                }
                async move { service.change_cluster(request).await }
            })
            .await?;
        Ok(answer.reply.log_index)
    }

    /// One page of the whole history, from row `from`; a limit of 0 means 2,730.
    pub async fn movements(
        &self,
        from: MovementNumber,
        limit: u32,
    ) -> Result<Vec<(MovementNumber, Movement)>, ClientError> {
        let all = MovementFilter { from, timestamp_min: Nanos(0), timestamp_max: Nanos(0), limit };
        self.query_movements(&all).await
    }

    /// One page of the whole history: rows from a number on and within a range of time, both ends
    /// inclusive. A time of 0 means no end, a limit of 0 means 2,730.
    pub async fn query_movements(
        &self,
        filter: &MovementFilter,
    ) -> Result<Vec<(MovementNumber, Movement)>, ClientError> {
        let message = v1::GetMovementsRequest {
            from: Position::of_row(filter.from).to_string(),
            limit: filter.limit,
            timestamp_min: filter.timestamp_min.0,
            timestamp_max: filter.timestamp_max.0,
            ..v1::GetMovementsRequest::default()
        };
        let answer = self
            .call(message, |mut service, request| async move { service.get_movements(request).await })
            .await?;
        if answer.reply.next.is_empty() {
            // It has read from the start: it does not know the field with the position.
            let reason = "the server has version 0.1, which knows no positions".to_owned();
            return Err(ClientError::Protocol { reason });
        }
        convert::movements(&answer.reply)
    }
}
