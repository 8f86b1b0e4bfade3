//! Requests that read or change the cluster's metadata: from the request to the room that decides, and back.
//!
//! Owns nothing but the way: what is read comes from the committed image; what changes is decided by the controller, and its answer
//! leaves when the records are committed and the image has them.

use super::connection::Answer;
use super::init_producer_id;
use super::{
    Api, Asked, Rooms, Waiting, api_versions, create_partitions, create_topics, delete_topics,
    describe_cluster, metadata, metadata_listing, served,
};
use crate::controller::Outcome;
use crate::ids::{Offset, RequestId};
use crate::io::Cx;
use crate::mutant::Mutant;
use crate::wire::{
    ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeClusterRequest, ErrorCode, InitProducerIdRequest, Message, MetadataRequest,
};

impl Api {
    pub(super) fn api_versions(
        &mut self,
        rooms: &Rooms,
        cx: &mut Cx,
        asked: Asked,
        request: &ApiVersionsRequest,
    ) {
        let served = served::apis(rooms.is_controller_listener(asked.listener));
        let kraft_version = rooms.quorum.kraft_version();
        let response =
            api_versions::handle(request, asked.version, served, &rooms.image, kraft_version);
        self.reply(cx, asked, &response);
    }

    /// A client that is newer than this node learns what it may ask. KIP-511.
    pub(super) fn unknown_api_versions(&mut self, cx: &mut Cx, asked: Asked) {
        let response = api_versions::unsupported_version();
        let answer = self.encode(cx, asked, 0, &response);
        self.connections.finish(asked.id, answer, cx.out);
    }

    pub(super) fn metadata(
        &mut self,
        rooms: &mut Rooms,
        cx: &mut Cx,
        asked: Asked,
        request: MetadataRequest,
    ) {
        if metadata_listing::is_long(&request, asked.version, rooms) {
            return self.begin_metadata_listing(asked, request);
        }
        let (response, missing) = metadata::handle(&request, asked.version, rooms.seen_from(asked));
        // While the controller is busy nothing is created: the answer makes the client ask again.
        if !missing.is_empty() && !rooms.controller.is_busy() {
            let create = metadata::auto_creation(&rooms.config, &missing);
            let outcome = rooms.controller.create_topics(&create, 7, cx.rng);
            rooms.append_metadata(cx, &outcome.records);
        }
        self.reply(cx, asked, &response);
    }

    pub(super) fn describe_cluster(
        &mut self,
        rooms: &Rooms,
        cx: &mut Cx,
        asked: Asked,
        request: &DescribeClusterRequest,
    ) {
        let (version, view) = (asked.version, rooms.seen_from(asked));
        let response = if rooms.is_controller_listener(asked.listener) {
            let leader = rooms.quorum.is_leading().then_some(rooms.node);
            describe_cluster::handle_by_controller(request, version, view, leader)
        } else {
            describe_cluster::handle(request, version, view)
        };
        self.reply(cx, asked, &response);
    }

    pub(super) fn create_topics(
        &mut self,
        rooms: &mut Rooms,
        cx: &mut Cx,
        asked: Asked,
        request: &CreateTopicsRequest,
    ) {
        let controller = &mut rooms.controller;
        let outcome = create_topics::handle(request, asked.version, controller, cx.rng);
        self.change(rooms, cx, asked, outcome);
    }

    pub(super) fn delete_topics(
        &mut self,
        rooms: &mut Rooms,
        cx: &mut Cx,
        asked: Asked,
        request: &DeleteTopicsRequest,
    ) {
        let outcome = delete_topics::handle(request, asked.version, &mut rooms.controller);
        self.change(rooms, cx, asked, outcome);
    }

    pub(super) fn create_partitions(
        &mut self,
        rooms: &mut Rooms,
        cx: &mut Cx,
        asked: Asked,
        request: &CreatePartitionsRequest,
    ) {
        let outcome = create_partitions::handle(request, &mut rooms.controller, cx.rng);
        self.change(rooms, cx, asked, outcome);
    }

    pub(super) fn init_producer_id(
        &mut self,
        rooms: &mut Rooms,
        cx: &mut Cx,
        asked: Asked,
        request: &InitProducerIdRequest,
    ) {
        let (node, epoch) = (rooms.node.0, rooms.broker_epoch());
        let timeout_ms_max = rooms.config.int("transaction.max.timeout.ms");
        let (ids, controller) = (&mut self.producer_ids, &mut rooms.controller);
        let outcome =
            init_producer_id::handle(request, ids, controller, node, epoch, timeout_ms_max);
        if let Some(last) = rooms.append_metadata(cx, &outcome.records) {
            ids.appended(last);
        }
        let block = ids.committed_with();
        let block = block.filter(|_| outcome.response.error_code == ErrorCode::NONE);
        let answer = self.encode(cx, asked, asked.version, &outcome.response);
        self.finish_when_committed(rooms, cx, asked.id, block, answer);
    }

    /// Writes what the controller decided; the answer leaves when that is committed and the image has it.
    fn change<M: Message>(
        &mut self,
        rooms: &mut Rooms,
        cx: &mut Cx,
        asked: Asked,
        outcome: Outcome<M>,
    ) {
        let answer = self.encode(cx, asked, asked.version, &outcome.response);
        if rooms.controller.is_creating() {
            self.creator = Some(asked.id);
            self.requests.insert(asked.id, Waiting::Creation(answer));
            return;
        }
        let last = rooms.append_metadata(cx, &outcome.records);
        self.finish_when_committed(rooms, cx, asked.id, last, answer);
    }

    /// The last record of a large creation was appended, at `last`: its answer leaves when that is committed.
    pub fn on_created(&mut self, rooms: &Rooms, cx: &mut Cx, last: Option<Offset>) {
        let Some(id) = self.creator.take() else {
            return;
        };
        if let Some(Waiting::Creation(answer)) = self.requests.remove(&id) {
            self.finish_when_committed(rooms, cx, id, last, answer);
        }
    }

    fn finish_when_committed(
        &mut self,
        rooms: &Rooms,
        cx: &mut Cx,
        id: RequestId,
        last: Option<Offset>,
        answer: Answer,
    ) {
        let waits = !cx.mutants.has(Mutant::AnswerUncommittedMetadata);
        match last.filter(|last| *last > rooms.image.offset && waits) {
            Some(last) => {
                self.commits.insert((last, id));
                self.requests.insert(id, Waiting::Commit(answer));
            }
            None => self.connections.finish(id, answer, cx.out),
        }
    }
}

impl Rooms {
    /// The cluster as a client on its listener sees it.
    pub(super) fn seen_from(&self, asked: Asked) -> metadata::View<'_> {
        metadata::View {
            image: &self.image,
            config: &self.config,
            cluster_id: self.store.cluster_id().unwrap_or_default(),
            listener: self.listener_name(asked.listener).unwrap_or_default(),
        }
    }
}
