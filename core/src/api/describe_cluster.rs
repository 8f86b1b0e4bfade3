//! DescribeCluster: the brokers of the cluster and where to reach them (KIP-700).
//!
//! Reads the committed image and decides nothing.

use super::metadata::{CLUSTER_OPERATIONS, View};
use crate::wire::describe_cluster_response::DescribeClusterBroker;
use crate::wire::{DescribeClusterRequest, DescribeClusterResponse, ErrorCode, Str};

/// `EndpointType` of brokers and of controllers (KIP-919).
const BROKER: i8 = 1;
const CONTROLLER: i8 = 2;

/// Answers a request.
#[must_use]
pub fn handle(
    request: &DescribeClusterRequest,
    version: i16,
    view: View,
) -> DescribeClusterResponse {
    if request.endpoint_type != BROKER {
        return wrong_endpoint(request.endpoint_type, version);
    }
    let shown = view
        .image
        .brokers
        .values()
        .filter(|broker| !broker.fenced || request.include_fenced_brokers);
    let brokers: Vec<_> = shown
        .filter_map(|broker| {
            let endpoint = view.endpoint(broker)?;
            Some(DescribeClusterBroker {
                broker_id: broker.broker_id,
                host: endpoint.host.clone(),
                port: i32::from(endpoint.port),
                rack: broker.rack.clone(),
                is_fenced: broker.fenced,
                ..Default::default()
            })
        })
        .collect();
    let controller = view.any_broker();
    let listed = brokers.iter().any(|broker| broker.broker_id == controller);
    DescribeClusterResponse {
        endpoint_type: BROKER,
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

fn wrong_endpoint(asked: i8, version: i16) -> DescribeClusterResponse {
    let (code, message) = if asked == CONTROLLER {
        let message = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER".to_owned();
        (ErrorCode::MISMATCHED_ENDPOINT_TYPE, message)
    } else {
        (
            ErrorCode::UNSUPPORTED_ENDPOINT_TYPE,
            format!("Unsupported endpoint type {asked}"),
        )
    };
    DescribeClusterResponse {
        // Clients of version 0 know no other code for it.
        error_code: if version == 0 {
            ErrorCode::INVALID_REQUEST
        } else {
            code
        },
        error_message: Some(Str::from(message)),
        ..Default::default()
    }
}
