//! `/livez`, `/readyz` and `/metrics` over HTTP, for those who run the edge.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::edge::Edge;

/// Content type of the text format of Prometheus.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, edge: Arc<Edge>) {
    let metrics = |State(edge): State<Arc<Edge>>| async move { ([(header::CONTENT_TYPE, PROMETHEUS)], edge.metrics()) };
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(edge);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "administration has ended");
    }
}

async fn ready(State(edge): State<Arc<Edge>>) -> impl IntoResponse {
    match edge.readiness() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}
