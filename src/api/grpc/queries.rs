//! Read models over gRPC.

use std::sync::Arc;

use bytes::Bytes;
use tonic::{Request, Response, Status};

use super::proto::queries_server::Queries;
use super::proto::{
    Filter, GetRequest, GetResponse, ListRequest, ListResponse, Operator as ProtoOperator,
};
use crate::api::problem::Problem;
use crate::api::read_models::{Condition, Model, Operator, PageRequest, Wait, order};
use crate::api::state::ApiState;

/// The service.
pub(super) struct QueryService(pub(super) Arc<ApiState>);

fn condition(model: &Model, filter: &Filter) -> Result<Condition, Problem> {
    let operator = ProtoOperator::try_from(filter.operator).map_err(|_| {
        let detail = format!("column {:?} has an unknown operator", filter.column);
        Problem::malformed("unknown-operator", detail)
    })?;
    let operator = match operator {
        ProtoOperator::Unspecified | ProtoOperator::Eq => Operator::Equal,
        ProtoOperator::Ne => Operator::NotEqual,
        ProtoOperator::Gt => Operator::Greater,
        ProtoOperator::Gte => Operator::GreaterOrEqual,
        ProtoOperator::Lt => Operator::Less,
        ProtoOperator::Lte => Operator::LessOrEqual,
        ProtoOperator::Prefix => Operator::Prefix,
        ProtoOperator::Like => Operator::Like,
        ProtoOperator::Null => Operator::Null,
    };
    Condition::new(model, &filter.column, operator, &filter.value)
}

#[tonic::async_trait]
impl Queries for QueryService {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let request = request.into_inner();
        let read_models = self.0.read_models()?;
        let model = read_models.model(&request.read_model).await?;
        let wait = Wait { not_before: request.not_before_position, timeout_ms: request.timeout_ms };
        let found = read_models.row(&model, &request.key, wait).await?;
        let json = Bytes::from(found.item.to_string());
        Ok(Response::new(GetResponse { json, position: found.position }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let request = request.into_inner();
        let read_models = self.0.read_models()?;
        let model = read_models.model(&request.read_model).await?;
        let filters = request.filters.iter();
        let sort = request.sort.iter().map(|sort| (sort.column.as_str(), sort.descending));
        let limit = Some(u64::from(request.limit)).filter(|limit| *limit > 0);
        let asked = PageRequest {
            conditions: filters
                .map(|filter| condition(&model, filter))
                .collect::<Result<_, Problem>>()?,
            sort: order(&model, sort)?,
            limit: self.0.page_bounds().limit(limit)?,
            cursor: Some(request.cursor).filter(|cursor| !cursor.is_empty()),
            wait: Wait { not_before: request.not_before_position, timeout_ms: request.timeout_ms },
        };
        let page = read_models.page(&model, &asked).await?;
        Ok(Response::new(ListResponse {
            rows_json: page.items.iter().map(|item| Bytes::from(item.to_string())).collect(),
            next_cursor: page.next_cursor.unwrap_or_default(),
            position: page.position,
        }))
    }
}
