//! DescribeCluster: the brokers of the cluster, or its controllers (KIP-919), and where to reach them (KIP-700).
//!
//! Reads the committed image and decides nothing.

use super::metadata::{CLUSTER_OPERATIONS, View};
use crate::ids::NodeId;
use crate::metadata::features::CONTROLLER_REGISTRATION_FROM;
use crate::wire::describe_cluster_response::DescribeClusterBroker;
use crate::wire::{DescribeClusterRequest, DescribeClusterResponse, ErrorCode, Str};

/// `EndpointType` of brokers and of controllers (KIP-919).
const BROKER: i8 = 1;
const CONTROLLER: i8 = 2;

/// Answers a request that came in at a listener of brokers.
#[must_use]
pub fn handle(
    request: &DescribeClusterRequest,
    version: i16,
    view: View,
) -> DescribeClusterResponse {
    if request.endpoint_type != BROKER {
        return wrong_endpoint(BROKER, request.endpoint_type, version);
    }
    let shown = view
        .image
        .brokers
        .values()
        .filter(|broker| !broker.fenced || request.include_fenced_brokers);
    let brokers = shown.filter_map(|broker| {
        let endpoint = view.endpoint(broker)?;
        Some(DescribeClusterBroker {
            broker_id: broker.broker_id,
            host: endpoint.host.clone(),
            port: i32::from(endpoint.port),
            rack: broker.rack.clone(),
            is_fenced: broker.fenced,
            ..Default::default()
        })
    });
    answer(request, BROKER, view, brokers.collect(), view.any_broker())
}

/// Answers a request that came in at a listener of controllers, of which `leader` is the active one.
#[must_use]
pub fn handle_by_controller(
    request: &DescribeClusterRequest,
    version: i16,
    view: View,
    leader: Option<NodeId>,
) -> DescribeClusterResponse {
    if view.image.metadata_version() < CONTROLLER_REGISTRATION_FROM {
        return refused(
            ErrorCode::UNSUPPORTED_VERSION,
            "Direct-to-controller communication is not supported with the current MetadataVersion.",
        );
    }
    if request.endpoint_type != CONTROLLER {
        return wrong_endpoint(CONTROLLER, request.endpoint_type, version);
    }
    let controllers = view.image.controllers.values().filter_map(|controller| {
        let mut endpoints = controller.end_points.iter();
        let endpoint = endpoints.find(|endpoint| endpoint.name == view.listener)?;
        Some(DescribeClusterBroker {
            broker_id: controller.controller_id,
            host: endpoint.host.clone(),
            port: i32::from(endpoint.port),
            ..Default::default()
        })
    });
    let leader = leader.unwrap_or(NodeId::NONE).0;
    answer(request, CONTROLLER, view, controllers.collect(), leader)
}

fn answer(
    request: &DescribeClusterRequest,
    endpoint_type: i8,
    view: View,
    brokers: Vec<DescribeClusterBroker>,
    controller: i32,
) -> DescribeClusterResponse {
    let listed = brokers.iter().any(|broker| broker.broker_id == controller);
    DescribeClusterResponse {
        endpoint_type,
        cluster_id: Str::from(view.cluster_id.to_owned()),
        controller_id: if listed { controller } else { -1 },
        brokers,
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
        ..Default::default()
    }
}

fn wrong_endpoint(own: i8, asked: i8, version: i16) -> DescribeClusterResponse {
    let name = |kind| {
        if kind == BROKER {
            "BROKER"
        } else {
            "CONTROLLER"
        }
    };
    let (code, message) = if matches!(asked, BROKER | CONTROLLER) {
        let (own, asked) = (name(own), name(asked));
        (
            ErrorCode::MISMATCHED_ENDPOINT_TYPE,
            format!(
                "The request was sent to an endpoint of type {own}, but we wanted an endpoint of type {asked}"
            ),
        )
    } else {
        (
            ErrorCode::UNSUPPORTED_ENDPOINT_TYPE,
            format!("Unsupported endpoint type {asked}"),
        )
    };
    // Clients of version 0 know no other code for it.
    let code = if version == 0 {
        ErrorCode::INVALID_REQUEST
    } else {
        code
    };
    refused(code, message)
}

fn refused(error_code: ErrorCode, message: impl Into<String>) -> DescribeClusterResponse {
    DescribeClusterResponse {
        error_code,
        error_message: Some(Str::from(message.into())),
        ..Default::default()
    }
}
