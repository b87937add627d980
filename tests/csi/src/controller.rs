//! The Controller service: parses requests, builds answers.

use std::collections::HashMap;
use std::sync::Arc;

use prost_types::Timestamp;
use tonic::{Request, Response, Status};

use crate::call::{Driver, Effect, internal};
use crate::faults::Subject;
use crate::pool::{Shelf, id_for};
use crate::proto::csi;
use crate::proto::csi::controller_server::Controller;
use crate::proto::csi::controller_service_capability::{Rpc, Type, rpc};
use crate::proto::csi::validate_volume_capabilities_response::Confirmed;
use crate::proto::csi::volume_content_source::{SnapshotSource, Type as SourceType, VolumeSource};
use crate::proto::csi::{
    ControllerExpandVolumeRequest, ControllerExpandVolumeResponse, ControllerGetCapabilitiesRequest,
    ControllerGetCapabilitiesResponse, ControllerServiceCapability, CreateSnapshotRequest,
    CreateSnapshotResponse, CreateVolumeRequest, CreateVolumeResponse, DeleteSnapshotRequest,
    DeleteSnapshotResponse, DeleteVolumeRequest, DeleteVolumeResponse, GetCapacityRequest,
    GetCapacityResponse, ListSnapshotsRequest, ListSnapshotsResponse, ListVolumesRequest,
    ListVolumesResponse, ValidateVolumeCapabilitiesRequest, ValidateVolumeCapabilitiesResponse,
    VolumeContentSource, list_snapshots_response, list_volumes_response,
};
use crate::request::{Capability, Range, page, parse_source, required};
use crate::snapshot::Snapshot;
use crate::volume::{NewVolume, Source, Volume};

const CAPABILITIES: [rpc::Type; 8] = [
    rpc::Type::CreateDeleteVolume,
    rpc::Type::CreateDeleteSnapshot,
    rpc::Type::CloneVolume,
    rpc::Type::ExpandVolume,
    rpc::Type::ListSnapshots,
    rpc::Type::ListVolumes,
    rpc::Type::GetCapacity,
    rpc::Type::SingleNodeMultiWriter,
];

/// Makes volumes and snapshots.
#[derive(Debug)]
pub struct ControllerService(pub Arc<Driver>);

#[tonic::async_trait]
impl Controller for ControllerService {
    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<CreateVolumeResponse>, Status> {
        let request = request.into_inner();
        let source_id =
            parse_source(request.volume_content_source.as_ref())?.map(|source| source.id().to_owned());
        let subject = Subject {
            name: request.name.clone(),
            id: id_for(&request.name),
            source: source_id.unwrap_or_default(),
        };
        self.0
            .call("CreateVolume", Effect::Writes, subject, move |driver| {
                let new = NewVolume {
                    name: required("name", &request.name)?,
                    range: Range::parse(request.capacity_range.as_ref())?,
                    content: Capability::content_for_all(&request.volume_capabilities)?,
                    source: parse_source(request.volume_content_source.as_ref())?,
                };
                let volume = driver.create_volume(&new)?;
                Ok(CreateVolumeResponse { volume: Some(volume_message(&volume)?) })
            })
            .await
    }

    async fn delete_volume(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<DeleteVolumeResponse>, Status> {
        let id = request.into_inner().volume_id;
        let subject = Subject { id: id.clone(), ..Subject::default() };
        self.0
            .call("DeleteVolume", Effect::Writes, subject, move |driver| {
                driver.delete_volume(&required("volume_id", &id)?)?;
                Ok(DeleteVolumeResponse {})
            })
            .await
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<ValidateVolumeCapabilitiesResponse>, Status> {
        let request = request.into_inner();
        let subject = Subject { id: request.volume_id.clone(), ..Subject::default() };
        self.0
            .call("ValidateVolumeCapabilities", Effect::Reads, subject, move |driver| {
                let id = required("volume_id", &request.volume_id)?;
                Capability::content_for_all(&request.volume_capabilities)?;
                let volume = driver.volume(&id)?;
                let mut confirmed = true;
                for capability in &request.volume_capabilities {
                    confirmed &= Capability::parse(Some(capability))?.suits(volume.content);
                }
                let message = if confirmed {
                    String::new()
                } else {
                    format!("the volume holds {}", volume.content.name())
                };
                let confirmed = confirmed.then_some(Confirmed {
                    volume_context: request.volume_context,
                    volume_capabilities: request.volume_capabilities,
                    parameters: request.parameters,
                    mutable_parameters: request.mutable_parameters,
                });
                Ok(ValidateVolumeCapabilitiesResponse { confirmed, message })
            })
            .await
    }

    async fn list_volumes(
        &self,
        request: Request<ListVolumesRequest>,
    ) -> Result<Response<ListVolumesResponse>, Status> {
        let request = request.into_inner();
        self.0
            .call("ListVolumes", Effect::Reads, Subject::default(), move |driver| {
                let all = driver.pool.list::<Volume>(Shelf::Volumes).map_err(internal)?;
                let (volumes, next_token) = page(all, request.max_entries, &request.starting_token)?;
                let entry = |volume| {
                    Ok(list_volumes_response::Entry { volume: Some(volume_message(volume)?), status: None })
                };
                let entries = volumes.iter().map(entry).collect::<Result<_, Status>>()?;
                Ok(ListVolumesResponse { entries, next_token })
            })
            .await
    }

    async fn get_capacity(
        &self,
        _request: Request<GetCapacityRequest>,
    ) -> Result<Response<GetCapacityResponse>, Status> {
        self.0
            .call("GetCapacity", Effect::Reads, Subject::default(), |driver| {
                let available_capacity = signed(driver.pool.free().map_err(internal)?)?;
                let maximum_volume_size = Some(signed(driver.pool.size().map_err(internal)?)?);
                Ok(GetCapacityResponse { available_capacity, maximum_volume_size, minimum_volume_size: None })
            })
            .await
    }

    async fn controller_get_capabilities(
        &self,
        _request: Request<ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<ControllerGetCapabilitiesResponse>, Status> {
        let capability = |one: rpc::Type| ControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: one.into() })),
        };
        let capabilities = CAPABILITIES.into_iter().map(capability).collect();
        Ok(Response::new(ControllerGetCapabilitiesResponse { capabilities }))
    }

    async fn create_snapshot(
        &self,
        request: Request<CreateSnapshotRequest>,
    ) -> Result<Response<CreateSnapshotResponse>, Status> {
        let request = request.into_inner();
        let subject = Subject {
            name: request.name.clone(),
            id: id_for(&request.name),
            source: request.source_volume_id.clone(),
        };
        self.0
            .call("CreateSnapshot", Effect::Writes, subject, move |driver| {
                let name = required("name", &request.name)?;
                let source = required("source_volume_id", &request.source_volume_id)?;
                let snapshot = driver.create_snapshot(&name, &source)?;
                Ok(CreateSnapshotResponse { snapshot: Some(snapshot_message(driver, &snapshot)?) })
            })
            .await
    }

    async fn delete_snapshot(
        &self,
        request: Request<DeleteSnapshotRequest>,
    ) -> Result<Response<DeleteSnapshotResponse>, Status> {
        let id = request.into_inner().snapshot_id;
        let subject = Subject { id: id.clone(), ..Subject::default() };
        self.0
            .call("DeleteSnapshot", Effect::Writes, subject, move |driver| {
                driver.delete_snapshot(&required("snapshot_id", &id)?)?;
                Ok(DeleteSnapshotResponse {})
            })
            .await
    }

    async fn list_snapshots(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> Result<Response<ListSnapshotsResponse>, Status> {
        let request = request.into_inner();
        let subject = Subject {
            name: String::new(),
            id: request.snapshot_id.clone(),
            source: request.source_volume_id.clone(),
        };
        self.0
            .call("ListSnapshots", Effect::Reads, subject, move |driver| {
                let mut all = driver.pool.list::<Snapshot>(Shelf::Snapshots).map_err(internal)?;
                let asked = |filter: &str, value: &str| filter.is_empty() || filter == value;
                all.retain(|one| {
                    asked(&request.snapshot_id, &one.id)
                        && asked(&request.source_volume_id, &one.source_volume)
                });
                let (snapshots, next_token) = page(all, request.max_entries, &request.starting_token)?;
                let entry = |snapshot| {
                    let snapshot = Some(snapshot_message(driver, snapshot)?);
                    Ok(list_snapshots_response::Entry { snapshot })
                };
                let entries = snapshots.iter().map(entry).collect::<Result<_, Status>>()?;
                Ok(ListSnapshotsResponse { entries, next_token })
            })
            .await
    }

    async fn controller_expand_volume(
        &self,
        request: Request<ControllerExpandVolumeRequest>,
    ) -> Result<Response<ControllerExpandVolumeResponse>, Status> {
        let request = request.into_inner();
        let subject = Subject { id: request.volume_id.clone(), ..Subject::default() };
        self.0
            .call("ControllerExpandVolume", Effect::Writes, subject, move |driver| {
                let id = required("volume_id", &request.volume_id)?;
                let range = request.capacity_range.as_ref();
                let range = range.ok_or_else(|| Status::invalid_argument("capacity_range is missing"))?;
                let capacity_bytes = signed(driver.expand_volume(&id, Range::parse(Some(range))?)?)?;
                Ok(ControllerExpandVolumeResponse { capacity_bytes, node_expansion_required: true })
            })
            .await
    }
}

fn volume_message(volume: &Volume) -> Result<csi::Volume, Status> {
    let content_source = volume.source.as_ref().map(|source| {
        let kind = match source.clone() {
            Source::Snapshot(snapshot_id) => SourceType::Snapshot(SnapshotSource { snapshot_id }),
            Source::Volume(volume_id) => SourceType::Volume(VolumeSource { volume_id }),
        };
        VolumeContentSource { r#type: Some(kind) }
    });
    Ok(csi::Volume {
        capacity_bytes: signed(volume.capacity)?,
        volume_id: volume.id.clone(),
        volume_context: HashMap::new(),
        content_source,
        accessible_topology: Vec::new(),
    })
}

fn snapshot_message(driver: &Driver, snapshot: &Snapshot) -> Result<csi::Snapshot, Status> {
    let subject = Subject {
        name: snapshot.name.clone(),
        id: snapshot.id.clone(),
        source: snapshot.source_volume.clone(),
    };
    let never_ready = driver.faults.never_ready(&subject).map_err(internal)?;
    Ok(csi::Snapshot {
        size_bytes: signed(snapshot.size)?,
        snapshot_id: snapshot.id.clone(),
        source_volume_id: snapshot.source_volume.clone(),
        creation_time: Some(Timestamp {
            seconds: snapshot.cut_at.as_second(),
            nanos: snapshot.cut_at.subsec_nanosecond(),
        }),
        ready_to_use: !never_ready,
        group_snapshot_id: String::new(),
    })
}

fn signed(bytes: u64) -> Result<i64, Status> {
    i64::try_from(bytes).map_err(|_| Status::internal("a size that CSI cannot express"))
}
