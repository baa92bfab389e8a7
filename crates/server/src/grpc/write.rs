//! The gRPC calls that write.

use bezant_api::message::{account_draft, account_reference, asset, name_bytes, transfer_draft};
use bezant_api::{ErrorCode, Failure, Violation, status_name, v1};
use bezant_ledger::{ChangeBounds, Operation, SetName};
use bezant_runtime::Committed;
use bezant_types::{Bounds, limits};

use crate::cluster::{self, permit_change};
use crate::context::RequestContext;
use crate::create::Outcomes;
use crate::service::Service;

/// The fast path: the records go to the log as they came, and the results are returned as the log has them.
pub(super) async fn submit(
    service: &Service,
    request: v1::SubmitRequest,
    context: &RequestContext,
) -> Result<v1::SubmitReply, Failure> {
    let operation = u16::try_from(request.operation).ok().and_then(Operation::from_number);
    let operation = operation.filter(|operation| operation.is_from_clients()).ok_or_else(|| {
        let all = Operation::ALL.iter().filter(|operation| operation.is_from_clients());
        let numbers: Vec<_> = all.map(|operation| (*operation as u16).to_string()).collect();
        let (number, numbers) = (request.operation, numbers.join(", "));
        let detail = format!("{number} is not the number of an operation: use one of {numbers}");
        Failure::new(ErrorCode::InvalidRecords, detail)
    })?;
    let records = service.settle_records(operation, request.records, context).await?;
    let committed = service.write(operation, records, context).await?;
    Ok(v1::SubmitReply {
        log_index: committed.index.0,
        timestamp: committed.time.0,
        results: committed.results,
    })
}

pub(super) async fn create_accounts(
    service: &Service,
    request: v1::CreateAccountsRequest,
    context: &RequestContext,
) -> Result<v1::EventsReply, Failure> {
    let drafts = each("accounts", request.accounts, |input| account_draft(&input))?;
    let ids: Vec<_> = drafts.iter().map(|draft| draft.event.account.id.0).collect();
    let outcomes = service.create_accounts(drafts, None, context).await;
    Ok(outcomes_reply(&outcomes.map_err(|failure| failure.of_events(ids))?))
}

pub(super) async fn create_transfers(
    service: &Service,
    request: v1::CreateTransfersRequest,
    context: &RequestContext,
) -> Result<v1::EventsReply, Failure> {
    let drafts = each("transfers", request.transfers, transfer_draft)?;
    let ids: Vec<_> = drafts.iter().map(|draft| draft.event.transfer.id.0).collect();
    let outcomes = service.create_transfers(drafts, None, context).await;
    Ok(outcomes_reply(&outcomes.map_err(|failure| failure.of_events(ids))?))
}

pub(super) async fn set_account_bounds(
    service: &Service,
    request: v1::SetAccountBoundsRequest,
    context: &RequestContext,
) -> Result<v1::EventsReply, Failure> {
    let changes = each("changes", request.changes, |change| {
        let bounds = change.bounds.unwrap_or_default();
        for (field, keeps, bound) in [
            ("keep_minimum", change.keep_minimum, bounds.minimum.is_some()),
            ("keep_maximum", change.keep_maximum, bounds.maximum.is_some()),
        ] {
            if keeps && bound {
                return Err(Violation::new(
                    field,
                    "is true while bounds has a value for that side: send one of the two",
                ));
            }
        }
        let keeps = (change.keep_minimum, change.keep_maximum);
        Ok((account_reference(change.account), Bounds::from(bounds), keeps))
    })?;
    let names = service.ids_of_names(changes.iter().map(|(account, ..)| account), context).await?;
    let events = changes
        .iter()
        .map(|(account, bounds, (keeps_minimum, keeps_maximum))| {
            Ok(ChangeBounds {
                account_id: names.id_of(account, "account")?,
                minimum: (!keeps_minimum).then_some(bounds.minimum),
                maximum: (!keeps_maximum).then_some(bounds.maximum),
            })
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let committed = service.write_events(Operation::ChangeBounds, &events, context).await?;
    events_reply(Operation::ChangeBounds, &committed)
}

pub(super) async fn set_account_name(
    service: &Service,
    request: v1::SetAccountNameRequest,
    context: &RequestContext,
) -> Result<v1::EventsReply, Failure> {
    let changes = each("changes", request.changes, |change| {
        Ok((account_reference(change.account), name_bytes(&change.name)?))
    })?;
    let names = service.ids_of_names(changes.iter().map(|(account, _)| account), context).await?;
    let mut events = changes
        .iter()
        .map(|(account, name)| Ok(SetName { account_id: names.id_of(account, "account")?, name: *name }))
        .collect::<Result<Vec<_>, Failure>>()?;
    service.settle_names(events.iter_mut().map(|event| &mut event.name).collect(), context).await?;
    let committed = service.write_events(Operation::SetName, &events, context).await?;
    events_reply(Operation::SetName, &committed)
}

pub(super) async fn register_assets(
    service: &Service,
    request: v1::RegisterAssetsRequest,
    context: &RequestContext,
) -> Result<v1::EventsReply, Failure> {
    let events = each("assets", request.assets, |message| asset(&message))?;
    let committed = service.write_events(Operation::RegisterAssets, &events, context).await?;
    events_reply(Operation::RegisterAssets, &committed)
}

pub(super) async fn change_cluster(
    service: &Service,
    request: v1::ChangeClusterRequest,
    context: &RequestContext,
) -> Result<v1::ChangeClusterReply, Failure> {
    let permit = permit_change(service, context)?;
    cluster::change_cluster(service, permit, request, context).await
}

/// Parses every event of a request; a violation names the field and the place.
fn each<Input, Event>(
    field: &str,
    inputs: Vec<Input>,
    read: impl Fn(Input) -> Result<Event, Violation>,
) -> Result<Vec<Event>, Failure> {
    if inputs.is_empty() {
        return Err(Failure::new(ErrorCode::NoEvents, format!("{field} is empty: send at least one")));
    }
    if inputs.len() > limits::EVENTS_MAX {
        let detail = format!("{} {field} are too many: send at most {}", inputs.len(), limits::EVENTS_MAX);
        return Err(Failure::new(ErrorCode::TooManyEvents, detail));
    }
    let events = inputs
        .into_iter()
        .enumerate()
        .map(|(at, input)| read(input).map_err(|violation| violation.within(format_args!("{field}[{at}]"))));
    Ok(events.collect::<Result<_, _>>()?)
}

/// The reply with the results of the events.
fn events_reply(operation: Operation, committed: &Committed) -> Result<v1::EventsReply, Failure> {
    Outcomes::of(operation, committed).map(|outcomes| outcomes_reply(&outcomes))
}

fn outcomes_reply(outcomes: &Outcomes) -> v1::EventsReply {
    let results = outcomes.results.iter().enumerate().map(|(at, result)| v1::EventResult {
        status: result.status,
        name: status_name(outcomes.operation, result.status).to_owned(),
        timestamp: result.timestamp.0,
        detail: outcomes.detail(at).unwrap_or_default().to_owned(),
    });
    v1::EventsReply { log_index: outcomes.index.0, timestamp: outcomes.time.0, results: results.collect() }
}
