//! The Node service: parses requests, builds answers.

use std::path::PathBuf;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::call::{Driver, Effect};
use crate::faults::Subject;
use crate::proto::csi::node_server::Node;
use crate::proto::csi::node_service_capability::{Rpc, Type, rpc};
use crate::proto::csi::volume_usage::Unit;
use crate::proto::csi::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest,
    NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse, NodeGetVolumeStatsRequest,
    NodeGetVolumeStatsResponse, NodePublishVolumeRequest, NodePublishVolumeResponse, NodeServiceCapability,
    NodeStageVolumeRequest, NodeStageVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse,
    NodeUnstageVolumeRequest, NodeUnstageVolumeResponse, VolumeUsage,
};
use crate::request::{Capability, required};
use crate::stage::{Publication, Usage};

const CAPABILITIES: [rpc::Type; 4] = [
    rpc::Type::StageUnstageVolume,
    rpc::Type::GetVolumeStats,
    rpc::Type::ExpandVolume,
    rpc::Type::SingleNodeMultiWriter,
];

/// Brings volumes to pods.
#[derive(Debug)]
pub struct NodeService(pub Arc<Driver>);

#[tonic::async_trait]
impl Node for NodeService {
    async fn node_stage_volume(
        &self,
        request: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        let request = request.into_inner();
        self.0
            .call("NodeStageVolume", Effect::Writes, about(&request.volume_id), move |driver| {
                let id = required("volume_id", &request.volume_id)?;
                let staging = path("staging_target_path", &request.staging_target_path)?;
                let capability = Capability::parse(request.volume_capability.as_ref())?;
                driver.stage(&id, &staging, &capability)?;
                Ok(NodeStageVolumeResponse {})
            })
            .await
    }

    async fn node_unstage_volume(
        &self,
        request: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        let request = request.into_inner();
        self.0
            .call("NodeUnstageVolume", Effect::Writes, about(&request.volume_id), move |driver| {
                let id = required("volume_id", &request.volume_id)?;
                driver.unstage(&id, &path("staging_target_path", &request.staging_target_path)?)?;
                Ok(NodeUnstageVolumeResponse {})
            })
            .await
    }

    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        self.0
            .call("NodePublishVolume", Effect::Writes, about(&request.volume_id), move |driver| {
                let publication = Publication {
                    id: required("volume_id", &request.volume_id)?,
                    target: path("target_path", &request.target_path)?,
                    capability: Capability::parse(request.volume_capability.as_ref())?,
                    staging: path("staging_target_path", &request.staging_target_path)?,
                    read_only: request.readonly,
                };
                driver.publish(&publication)?;
                Ok(NodePublishVolumeResponse {})
            })
            .await
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        self.0
            .call("NodeUnpublishVolume", Effect::Writes, about(&request.volume_id), move |driver| {
                let id = required("volume_id", &request.volume_id)?;
                driver.unpublish(&id, &path("target_path", &request.target_path)?)?;
                Ok(NodeUnpublishVolumeResponse {})
            })
            .await
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        let request = request.into_inner();
        self.0
            .call("NodeGetVolumeStats", Effect::Reads, about(&request.volume_id), move |driver| {
                let id = required("volume_id", &request.volume_id)?;
                let usage = driver.usage(&id, &path("volume_path", &request.volume_path)?)?;
                Ok(NodeGetVolumeStatsResponse { usage: usage_messages(usage), volume_condition: None })
            })
            .await
    }

    async fn node_expand_volume(
        &self,
        request: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        let request = request.into_inner();
        self.0
            .call("NodeExpandVolume", Effect::Writes, about(&request.volume_id), move |driver| {
                let id = required("volume_id", &request.volume_id)?;
                let capacity = driver.grow_on_node(&id, &path("volume_path", &request.volume_path)?)?;
                Ok(NodeExpandVolumeResponse { capacity_bytes: capacity.try_into().unwrap_or(i64::MAX) })
            })
            .await
    }

    async fn node_get_capabilities(
        &self,
        _request: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let capability =
            |one: rpc::Type| NodeServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: one.into() })) };
        let capabilities = CAPABILITIES.into_iter().map(capability).collect();
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities }))
    }

    async fn node_get_info(
        &self,
        _request: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        self.0
            .call("NodeGetInfo", Effect::Reads, Subject::default(), |driver| {
                let node_id = driver.node_id.clone();
                Ok(NodeGetInfoResponse { node_id, max_volumes_per_node: 0, accessible_topology: None })
            })
            .await
    }
}

fn about(id: &str) -> Subject {
    Subject { id: id.to_owned(), ..Subject::default() }
}

fn path(field: &str, value: &str) -> Result<PathBuf, Status> {
    required(field, value).map(PathBuf::from)
}

fn usage_messages(usage: Usage) -> Vec<VolumeUsage> {
    // Beyond what an i64 holds there is no truth to tell; file systems end long before.
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let message = |unit: Unit, total, available, used| VolumeUsage {
        available: signed(available),
        total: signed(total),
        used: signed(used),
        unit: unit.into(),
    };
    match usage.filesystem {
        None => vec![message(Unit::Bytes, usage.bytes, 0, 0)],
        Some(fs) => vec![
            message(Unit::Bytes, usage.bytes, fs.bytes_available, fs.bytes_used),
            message(Unit::Inodes, fs.inodes, fs.inodes_free, fs.inodes.saturating_sub(fs.inodes_free)),
        ],
    }
}
