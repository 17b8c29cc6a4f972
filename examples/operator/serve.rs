//! Health and metrics over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use futures::FutureExt;
use kube::runtime::reflector::Store;
use metrics_exporter_prometheus::PrometheusHandle;
use provider_kube::Guarded;

use crate::Failure;
use crate::crd::ComputeInstance;

/// `/healthz`: the process lives. `/readyz`: it has seen all objects once, and is not ending. `/metrics`: Prometheus.
pub(crate) async fn serve(
    address: SocketAddr,
    objects: Store<Guarded<ComputeInstance>>,
    stopping: Arc<AtomicBool>,
    metrics: PrometheusHandle,
) -> Result<(), Failure> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving /healthz, /readyz and /metrics");
    let is_ready = move || {
        let listed = objects.wait_until_ready().now_or_never();
        let ready = listed.is_some() && !stopping.load(Ordering::Relaxed);
        std::future::ready(if ready {
            (StatusCode::OK, "ok")
        } else {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the objects have not been listed yet, or the process is ending",
            )
        })
    };
    let router = Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(is_ready))
        .route(
            "/metrics",
            get(move || std::future::ready(metrics.render())),
        );
    axum::serve(listener, router).await?;
    Ok(())
}
