//! `/v1/assets` and `/v1/cluster`.

use axum::response::Response;
use bezant_api::json::{
    AssetReply, ChangeClusterReply, ClusterReply, Problem, parse_assets, parse_cluster_change,
};
use bezant_ledger::Operation;
use http::StatusCode;

use super::request::{JsonBody, RestRequest};
use super::{batch_reply, json, single_reply};
use crate::cluster::{change_cluster, cluster_reply, permit_change};
use crate::create::Outcomes;
use crate::failure::Refused;
use crate::metrics::{Api, Call};

type Answer = Result<Response, Refused>;

/// List the built-in (ISO 4217) and the registered assets
#[utoipa::path(get, path = "/v1/assets", tag = "Assets", operation_id = "list_assets",
    responses(
        (status = 200, description = "All assets, in the order of their ledgers", body = Vec<AssetReply>),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn assets(request: RestRequest) -> Answer {
    let RestRequest { service, context, .. } = &request;
    let work = async {
        let assets = service.list_assets(context).await?;
        json(StatusCode::OK, &assets.iter().map(AssetReply::from).collect::<Vec<_>>())
    };
    Ok(service.observe(Api::Rest, Call::ListAssets, work).await?)
}

/// Register assets: give ledgers a code and a scale
#[utoipa::path(post, path = "/v1/assets", tag = "Assets", operation_id = "register_assets",
    request_body(content = super::openapi::OneOrMany<bezant_api::json::AssetBody>, description = "One asset, or an array of up to 8189"),
    responses(
        (status = 201, description = "Registered", body = bezant_api::json::EventReply),
        (status = 200, description = "It exists already; for an array: a result for each", body = super::openapi::OneOrBatch),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn register(request: RestRequest, JsonBody(body): JsonBody) -> Answer {
    let RestRequest { service, context, .. } = &request;
    let work = async {
        let batch = parse_assets(&body)?;
        let operation = Operation::RegisterAssets;
        let committed = service.write_events(operation, &batch.events, context).await?;
        let outcomes = Outcomes::of(operation, &committed)?;
        let ids: Vec<_> = batch.events.iter().map(|asset| u128::from(asset.ledger.0)).collect();
        match (batch.is_array, ids.first()) {
            (false, Some(id)) => single_reply(*id, &outcomes, Some("/v1/assets".to_owned())),
            _ => batch_reply(&ids, &outcomes),
        }
    };
    Ok(service.observe(Api::Rest, Call::RegisterAssets, work).await?)
}

/// Show the state of this node and of its cluster
#[utoipa::path(get, path = "/v1/cluster", tag = "Cluster", operation_id = "get_cluster",
    responses(
        (status = 200, description = "This node, and the others as it knows them", body = ClusterReply),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn cluster(request: RestRequest) -> Answer {
    let service = &request.service;
    let work = async { json(StatusCode::OK, &ClusterReply::from(cluster_reply(service))) };
    Ok(service.observe(Api::Rest, Call::GetCluster, work).await?)
}

/// Change the members of the cluster, or its leader
///
/// On a listener that other machines reach, `Authorization: Bearer TOKEN` must carry the cluster's token.
#[utoipa::path(post, path = "/v1/cluster", tag = "Cluster", operation_id = "change_cluster",
    params(("Authorization" = Option<String>, Header, description = "`Bearer` and the cluster's token")),
    request_body(content = bezant_api::json::ChangeClusterBody, description = "The change"),
    responses(
        (status = 200, description = "It is committed; a change of voters has a second step, which follows by itself", body = ChangeClusterReply),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn change(request: RestRequest, JsonBody(body): JsonBody) -> Answer {
    let RestRequest { service, context, .. } = &request;
    let work = async {
        let permit = permit_change(service, context)?;
        let change = parse_cluster_change(&body)?;
        let reply = change_cluster(service, permit, change.into(), context).await?;
        json(StatusCode::OK, &ChangeClusterReply { log_index: reply.log_index })
    };
    Ok(service.observe(Api::Rest, Call::ChangeCluster, work).await?)
}
