//! What an operator asks of the server. A log that nothing is removed from needs no scavenging and no merging of indexes,
//! and a single server has nobody to hand its office to; so those are refused, not feigned.

use std::sync::Arc;

use tonic::{Extensions, Request, Response, Status};

use super::errors::ProtocolError;
use super::persistent::PersistentService;
use super::service::Protocol;
use super::wire::v1::Empty;
use super::wire::v1::operations::operations_server::Operations;
use super::wire::v1::operations::{
    ScavengeResp, SetNodePriorityReq, StartScavengeReq, StopScavengeReq,
};

/// The service.
pub struct OperationsService {
    /// What stops the server.
    pub protocol: Arc<Protocol>,
    /// What starts persistent subscriptions again.
    pub persistent: PersistentService,
}

fn unserved<T>(why: &str) -> Result<T, Status> {
    Err(Status::unimplemented(why))
}

impl OperationsService {
    fn check(&self, extensions: &Extensions) -> Result<(), ProtocolError> {
        self.protocol.may_operate(&self.protocol.caller(extensions))
    }
}

#[tonic::async_trait]
impl Operations for OperationsService {
    async fn start_scavenge(
        &self,
        request: Request<StartScavengeReq>,
    ) -> Result<Response<ScavengeResp>, Status> {
        self.check(request.extensions())?;
        unserved("nothing is removed from this log, so there is nothing to scavenge")
    }

    async fn stop_scavenge(
        &self,
        request: Request<StopScavengeReq>,
    ) -> Result<Response<ScavengeResp>, Status> {
        self.check(request.extensions())?;
        unserved("nothing is removed from this log, so no scavenge runs")
    }

    async fn shutdown(&self, request: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.check(request.extensions())?;
        tracing::info!("a client asked the server to stop");
        self.protocol.parts.asked_to_stop.cancel();
        Ok(Response::new(Empty {}))
    }

    async fn merge_indexes(&self, request: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.check(request.extensions())?;
        unserved("the indexes of this log are never merged")
    }

    async fn resign_node(&self, request: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.check(request.extensions())?;
        unserved("a single server leads itself")
    }

    async fn set_node_priority(
        &self,
        request: Request<SetNodePriorityReq>,
    ) -> Result<Response<Empty>, Status> {
        self.check(request.extensions())?;
        unserved("a single server leads itself")
    }

    async fn restart_persistent_subscriptions(
        &self,
        request: Request<Empty>,
    ) -> Result<Response<Empty>, Status> {
        self.check(request.extensions())?;
        self.persistent.restart().await?;
        Ok(Response::new(Empty {}))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::protocol;
    use super::*;

    #[tokio::test]
    async fn a_client_may_ask_the_server_to_stop() {
        let protocol = protocol();
        let persistent = PersistentService::new(&protocol);
        let service = OperationsService { protocol: Arc::clone(&protocol), persistent };
        let refused = service.merge_indexes(Request::new(Empty {})).await;
        assert_eq!(refused.expect_err("not served").code(), tonic::Code::Unimplemented);
        assert!(!protocol.parts.asked_to_stop.is_cancelled());
        service.shutdown(Request::new(Empty {})).await.expect("it is served");
        assert!(protocol.parts.asked_to_stop.is_cancelled());
    }
}
