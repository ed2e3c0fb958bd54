//! Commands over gRPC.

use std::sync::Arc;

use annals_core::executor::Envelope;
use bytes::Bytes;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::proto::commands_server::Commands;
use super::proto::{
    CommandDescription, DecidedEvent, ExecuteRequest, ExecuteResponse, ListCommandsRequest,
    ListCommandsResponse,
};
use crate::api::commands::{command_id, execute, object, traceparent};
use crate::api::problem::Problem;
use crate::api::state::ApiState;

/// The service.
pub(super) struct CommandService(pub(super) Arc<ApiState>);

fn text<'a>(metadata: &'a MetadataMap, name: &str) -> Option<&'a str> {
    metadata.get(name).and_then(|value| value.to_str().ok())
}

#[tonic::async_trait]
impl Commands for CommandService {
    async fn execute(
        &self,
        request: Request<ExecuteRequest>,
    ) -> Result<Response<ExecuteResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let bytes_max = self.0.limits.request_bytes_max;
        if request.json.len() > bytes_max {
            let detail = format!("the command's JSON is larger than {bytes_max} bytes");
            return Err(Problem::malformed("body-too-large", detail).into());
        }
        let key = Some(request.command_id.as_str()).filter(|key| !key.is_empty());
        let envelope = Envelope {
            correlation: text(&metadata, "x-correlation-id")
                .and_then(|id| Uuid::parse_str(id).ok()),
            traceparent: traceparent(text(&metadata, "traceparent")),
            ..Envelope::new(command_id(key)?)
        };
        let fields = object(&request.json)?;
        let answer = execute(&self.0, request.context, request.name, fields, envelope).await?;
        let events = answer.events.into_iter().map(|event| DecidedEvent {
            r#type: event.event_type,
            json: Bytes::from(event.data.to_string()),
        });
        Ok(Response::new(ExecuteResponse {
            stream: answer.stream,
            revision: answer.revision,
            position: answer.position,
            events: events.collect(),
        }))
    }

    async fn list(
        &self,
        _request: Request<ListCommandsRequest>,
    ) -> Result<Response<ListCommandsResponse>, Status> {
        let commands = self.0.domain()?.router.commands().into_iter();
        let commands = commands.map(|command| CommandDescription {
            context: command.context.to_owned(),
            name: command.name,
            json_schema: Bytes::from(command.schema.to_string()),
        });
        Ok(Response::new(ListCommandsResponse { commands: commands.collect() }))
    }
}
