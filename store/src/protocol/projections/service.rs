//! The service: it manages the system projections. Projections of users' own, which KurrentDB writes in JavaScript, are not
//! served; a client is told so.

use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::{Extensions, Request, Response, Status};

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

impl ProjectionsService {
    /// Projections are for those who look after the server.
    fn check(&self, extensions: &Extensions) -> Result<(), ProtocolError> {
        let protocol = &self.0.protocol;
        protocol.may_operate(&protocol.caller(extensions))
    }
}

fn missing() -> ProtocolError {
    ProtocolError::Malformed("the request's options are missing".to_owned())
}

/// The projection of that name.
fn known(name: &str) -> Result<SystemProjection, ProtocolError> {
    let unknown = || ProtocolError::UnknownProjection(name.to_owned());
    SystemProjection::named(name).ok_or_else(unknown)
}

/// Brings to its end what must not be left half done, whether the client waits for it or not.
async fn whole(
    work: impl Future<Output = Result<(), ProtocolError>> + Send + 'static,
) -> Result<(), Status> {
    match tokio::spawn(work).await {
        Ok(done) => Ok(done?),
        Err(error) => Err(Status::unknown(error.to_string())),
    }
}

/// What a system projection keeps as its state: nothing.
fn nothing() -> Value {
    Value { kind: Some(Kind::StructValue(Struct::default())) }
}

#[tonic::async_trait]
impl Projections for ProjectionsService {
    type StatisticsStream = BoxStream<'static, Result<wire::StatisticsResp, Status>>;

    async fn create(
        &self,
        request: Request<wire::CreateReq>,
    ) -> Result<Response<wire::CreateResp>, Status> {
        self.check(request.extensions())?;
        Err(Status::unimplemented(SYSTEM_ALONE))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateReq>,
    ) -> Result<Response<wire::UpdateResp>, Status> {
        self.check(request.extensions())?;
        Err(Status::unimplemented(SYSTEM_ALONE))
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteReq>,
    ) -> Result<Response<wire::DeleteResp>, Status> {
        self.check(request.extensions())?;
        Err(Status::unimplemented(
            "the system projections cannot be deleted; disable them, and delete their streams",
        ))
    }

    async fn statistics(
        &self,
        request: Request<wire::StatisticsReq>,
    ) -> Result<Response<Self::StatisticsStream>, Status> {
        use wire::statistics_req::options::Mode;
        self.check(request.extensions())?;
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
        self.check(request.extensions())?;
        let options = request.into_inner().options.ok_or_else(missing)?;
        let (projections, projection) = (Arc::clone(&self.0), known(&options.name)?);
        let disable =
            async move { projections.disable(projection, options.write_checkpoint).await };
        whole(disable).await?;
        Ok(Response::new(wire::DisableResp {}))
    }

    async fn enable(
        &self,
        request: Request<wire::EnableReq>,
    ) -> Result<Response<wire::EnableResp>, Status> {
        self.check(request.extensions())?;
        let options = request.into_inner().options.ok_or_else(missing)?;
        let (projections, projection) = (Arc::clone(&self.0), known(&options.name)?);
        whole(async move { projections.enable(projection).await }).await?;
        Ok(Response::new(wire::EnableResp {}))
    }

    async fn reset(
        &self,
        request: Request<wire::ResetReq>,
    ) -> Result<Response<wire::ResetResp>, Status> {
        self.check(request.extensions())?;
        let options = request.into_inner().options.ok_or_else(missing)?;
        let (projections, projection) = (Arc::clone(&self.0), known(&options.name)?);
        whole(async move { projections.reset(projection).await }).await?;
        Ok(Response::new(wire::ResetResp {}))
    }

    async fn state(
        &self,
        request: Request<wire::StateReq>,
    ) -> Result<Response<wire::StateResp>, Status> {
        self.check(request.extensions())?;
        known(&request.into_inner().options.ok_or_else(missing)?.name)?;
        Ok(Response::new(wire::StateResp { state: Some(nothing()) }))
    }

    async fn result(
        &self,
        request: Request<wire::ResultReq>,
    ) -> Result<Response<wire::ResultResp>, Status> {
        self.check(request.extensions())?;
        known(&request.into_inner().options.ok_or_else(missing)?.name)?;
        Ok(Response::new(wire::ResultResp { result: Some(nothing()) }))
    }

    async fn restart_subsystem(&self, request: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.check(request.extensions())?;
        let projections = Arc::clone(&self.0);
        whole(async move { projections.restart().await }).await?;
        Ok(Response::new(Empty {}))
    }
}
