//! The service: it manages the system projections. Projections of users' own, which KurrentDB writes in JavaScript, are not
//! served; a client is told so.

use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::{Request, Response, Status};

use super::super::errors::ProtocolError;
use super::super::wire::v1::Empty;
use super::super::wire::v1::projections as wire;
use super::super::wire::v1::projections::projections_server::Projections;
use super::management::SystemProjections;
use super::system::SystemProjection;

/// Why there are no others.
const SYSTEM_ALONE: &str = "this server runs the system projections alone; subscribe to $all or to a stream, or write a \
                            projection of Annals, instead of one in JavaScript";

/// The service.
#[derive(Clone)]
pub struct ProjectionsService(pub Arc<SystemProjections>);

fn missing() -> ProtocolError {
    ProtocolError::Malformed("the request's options are missing".to_owned())
}

/// The projection of that name.
fn known(name: &str) -> Result<SystemProjection, ProtocolError> {
    let unknown = || ProtocolError::UnknownProjection(name.to_owned());
    SystemProjection::named(name).ok_or_else(unknown)
}

/// What a system projection keeps as its state: nothing.
fn nothing() -> Option<Value> {
    Some(Value { kind: Some(Kind::StructValue(Struct::default())) })
}

#[tonic::async_trait]
impl Projections for ProjectionsService {
    type StatisticsStream = BoxStream<'static, Result<wire::StatisticsResp, Status>>;

    async fn create(
        &self,
        _: Request<wire::CreateReq>,
    ) -> Result<Response<wire::CreateResp>, Status> {
        Err(Status::unimplemented(SYSTEM_ALONE))
    }

    async fn update(
        &self,
        _: Request<wire::UpdateReq>,
    ) -> Result<Response<wire::UpdateResp>, Status> {
        Err(Status::unimplemented(SYSTEM_ALONE))
    }

    async fn delete(
        &self,
        _: Request<wire::DeleteReq>,
    ) -> Result<Response<wire::DeleteResp>, Status> {
        Err(Status::unimplemented(
            "the system projections cannot be deleted; disable them, and delete their streams",
        ))
    }

    async fn statistics(
        &self,
        request: Request<wire::StatisticsReq>,
    ) -> Result<Response<Self::StatisticsStream>, Status> {
        use wire::statistics_req::options::Mode;
        let options = request.into_inner().options.ok_or_else(missing)?;
        let of = match options.mode.ok_or_else(missing)? {
            Mode::Name(name) => vec![known(&name)?],
            Mode::All(_) | Mode::Continuous(_) => SystemProjection::ALL.to_vec(),
            Mode::Transient(_) | Mode::OneTime(_) => Vec::new(),
        };
        let told = self.0.statistics(&of).await?.into_iter();
        let told = told.map(|details| Ok(wire::StatisticsResp { details: Some(details) }));
        Ok(Response::new(stream::iter(told.collect::<Vec<_>>()).boxed()))
    }

    async fn disable(
        &self,
        request: Request<wire::DisableReq>,
    ) -> Result<Response<wire::DisableResp>, Status> {
        let options = request.into_inner().options.ok_or_else(missing)?;
        self.0.disable(known(&options.name)?, options.write_checkpoint).await?;
        Ok(Response::new(wire::DisableResp {}))
    }

    async fn enable(
        &self,
        request: Request<wire::EnableReq>,
    ) -> Result<Response<wire::EnableResp>, Status> {
        let options = request.into_inner().options.ok_or_else(missing)?;
        self.0.enable(known(&options.name)?).await?;
        Ok(Response::new(wire::EnableResp {}))
    }

    async fn reset(
        &self,
        request: Request<wire::ResetReq>,
    ) -> Result<Response<wire::ResetResp>, Status> {
        let options = request.into_inner().options.ok_or_else(missing)?;
        self.0.reset(known(&options.name)?).await?;
        Ok(Response::new(wire::ResetResp {}))
    }

    async fn state(
        &self,
        request: Request<wire::StateReq>,
    ) -> Result<Response<wire::StateResp>, Status> {
        known(&request.into_inner().options.ok_or_else(missing)?.name)?;
        Ok(Response::new(wire::StateResp { state: nothing() }))
    }

    async fn result(
        &self,
        request: Request<wire::ResultReq>,
    ) -> Result<Response<wire::ResultResp>, Status> {
        known(&request.into_inner().options.ok_or_else(missing)?.name)?;
        Ok(Response::new(wire::ResultResp { result: nothing() }))
    }

    async fn restart_subsystem(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.0.restart().await?;
        Ok(Response::new(Empty {}))
    }
}
