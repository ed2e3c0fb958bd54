//! The one member of the cluster: this server, its leader. Clients connect to the address that is told here, so it must be
//! the one that reaches it.

use std::sync::Arc;

use serde_json::{Value, json};
use tonic::{Request, Response, Status};

use super::names::{UuidForm, wire_uuid};
use super::service::Protocol;
use super::wire::v1::Empty;
use super::wire::v1::gossip::gossip_server::Gossip;
use super::wire::v1::gossip::member_info::VNodeState;
use super::wire::v1::gossip::{ClusterInfo, EndPoint, MemberInfo};

/// The service.
pub struct GossipService(pub Arc<Protocol>);

impl Protocol {
    /// The members, as JSON.
    pub fn gossip_json(&self) -> Value {
        let settings = &self.parts.settings;
        let identity = self.parts.store.identity();
        let head = self.parts.store.head().map_or(-1, |head| i64::try_from(head.0).unwrap_or(-1));
        json!({ "members": [{
            "instanceId": identity.id,
            "timeStamp": self.parts.clock.now(),
            "state": "Leader",
            "isAlive": true,
            "internalTcpIp": settings.host,
            "internalTcpPort": 0,
            "internalSecureTcpPort": 0,
            "externalTcpIp": settings.host,
            "externalTcpPort": 0,
            "externalSecureTcpPort": 0,
            "httpEndPointIp": settings.host,
            "httpEndPointPort": settings.port,
            "lastCommitPosition": head,
            "writerCheckpoint": head,
            "chaserCheckpoint": head,
            "epochPosition": 0,
            "epochNumber": identity.epoch,
            "epochId": identity.id,
            "nodePriority": 0,
        }] })
    }
}

#[tonic::async_trait]
impl Gossip for GossipService {
    async fn read(&self, _: Request<Empty>) -> Result<Response<ClusterInfo>, Status> {
        let parts = &self.0.parts;
        let member = MemberInfo {
            instance_id: Some(wire_uuid(parts.store.identity().id, UuidForm::String)),
            time_stamp: parts.clock.now().0.saturating_mul(10),
            state: VNodeState::Leader.into(),
            is_alive: true,
            http_end_point: Some(EndPoint {
                address: parts.settings.host.clone(),
                port: parts.settings.port.into(),
            }),
        };
        Ok(Response::new(ClusterInfo { members: vec![member] }))
    }
}
