//! Figures of the server, once a period, the first at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::time::{MissedTickBehavior, interval};
use tonic::{Request, Response, Status};

use super::errors::ProtocolError;
use super::service::Protocol;
use super::wire::v1::monitoring::monitoring_server::Monitoring;
use super::wire::v1::monitoring::{StatsReq, StatsResp};

/// The period where the client gives none.
const PERIOD: Duration = Duration::from_secs(30);
/// The shortest period, whatever the client gives.
const PERIOD_LEAST: Duration = Duration::from_millis(100);

/// The service.
pub struct MonitoringService(pub Arc<Protocol>);

impl Protocol {
    /// What there is to tell of the server now.
    fn stats(&self) -> BTreeMap<String, String> {
        let parts = &self.parts;
        let identity = parts.store.identity();
        let writer = parts.store.head().map_or(-1, |head| i64::try_from(head.0).unwrap_or(-1));
        [
            ("es-instanceId", identity.id.to_string()),
            ("es-writer-lastPosition", writer.to_string()),
            ("es-streams-open-available", parts.open.available_permits().to_string()),
            ("proc-id", std::process::id().to_string()),
            ("timestamp", parts.clock.now().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

#[tonic::async_trait]
impl Monitoring for MonitoringService {
    type StatsStream = BoxStream<'static, Result<StatsResp, Status>>;

    async fn stats(
        &self,
        request: Request<StatsReq>,
    ) -> Result<Response<Self::StatsStream>, Status> {
        self.0.may_operate(&self.0.caller(request.extensions()))?;
        let permit = self.0.open()?;
        let period = match request.into_inner().refresh_time_period_in_ms {
            0 => PERIOD,
            millis => Duration::from_millis(millis).max(PERIOD_LEAST),
        };
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let begin = Some((Arc::clone(&self.0), ticks, permit));
        let told = stream::unfold(begin, |next| async {
            let (protocol, mut ticks, permit) = next?;
            let stopping = protocol.parts.stopping.clone();
            tokio::select! {
                biased;
                () = stopping.cancelled() => Some((Err(ProtocolError::Stopping.into()), None)),
                _ = ticks.tick() => {
                    let stats = protocol.stats();
                    Some((Ok(StatsResp { stats }), Some((protocol, ticks, permit))))
                }
            }
        });
        Ok(Response::new(told.boxed()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::protocol;
    use super::*;

    #[tokio::test]
    async fn figures_come_at_once_and_then_once_a_period() {
        let protocol = protocol();
        let service = MonitoringService(Arc::clone(&protocol));
        let request = StatsReq { use_metadata: false, refresh_time_period_in_ms: 200 };
        let told = service.stats(Request::new(request)).await.expect("it is served");
        let mut told = told.into_inner();
        let begun = tokio::time::Instant::now();
        for period in 0..3 {
            let stats = told.next().await.expect("it goes on").expect("figures").stats;
            assert_eq!(stats["es-writer-lastPosition"], "-1");
            let (least, waited) = (Duration::from_millis(200 * period), begun.elapsed());
            assert!(waited + Duration::from_millis(20) >= least, "{period}: {waited:?}");
        }
        protocol.parts.stopping.cancel();
        let end = told.next().await.expect("the reason").expect_err("it stops");
        assert_eq!(end.code(), tonic::Code::Unavailable);
        assert!(told.next().await.is_none());
    }
}
