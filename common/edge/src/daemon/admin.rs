//! `/livez`, `/readyz` and `/metrics` over HTTP, for those who run the edge.
//!
//! Whoever comes may leave his request half sent: connections are bounded in number and time, and the oldest one makes
//! room for a new one. So a request that is sent as a whole is answered whatever others do, and the descriptors that an
//! edge needs to load its files stay free: all else that it keeps open is a handful of sockets.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::edge::Edge;

/// Content type of the text format of Prometheus.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Time for the head of a request, and for all of a connection.
const HEAD: Duration = Duration::from_secs(2);
const WHOLE: Duration = Duration::from_secs(10);
/// Connections at a time, fewer where the system gives few descriptors.
const MOST: u64 = 32;
/// Pause after the system had no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, edge: Arc<Edge>) {
    let most = places(getrlimit(Resource::Nofile).current);
    let mut open = Connections::default();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    open.make_room(most).await;
                    open.add(attend(stream, Arc::clone(&edge)));
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection for administration was lost");
                    open.make_room(1).await;
                    sleep(PAUSE).await;
                }
            },
            Some(_) = open.tasks.join_next() => open.by_age.retain(|task| !task.is_finished()),
        }
    }
}

/// Connections at a time, of `descriptors` that the process may have.
fn places(descriptors: Option<u64>) -> usize {
    descriptors.map_or(MOST, |all| (all / 4).clamp(2, MOST)) as usize
}

/// Connections that are open, oldest first.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    by_age: VecDeque<AbortHandle>,
}

impl Connections {
    fn add(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        self.by_age.push_back(self.tasks.spawn(connection));
    }

    /// Ends the oldest ones until there are fewer than `most`.
    async fn make_room(&mut self, most: usize) {
        while self.tasks.len() >= most {
            if let Some(oldest) = self.by_age.pop_front() {
                oldest.abort();
            }
            self.tasks.join_next().await;
        }
    }
}

async fn attend(stream: TcpStream, edge: Arc<Edge>) {
    let service = service_fn(|request| {
        let response = answer(&edge, &request);
        async { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(false);
    // Whatever goes wrong is the client's own doing.
    let _ = timeout(WHOLE, http.serve_connection(TokioIo::new(stream), service)).await;
}

fn answer(edge: &Edge, request: &Request<Incoming>) -> Response<String> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/livez") => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/readyz") => match edge.readiness() {
            Ok(()) => {
                let concern = edge.concern().map_or_else(String::new, |concern| concern + "\n");
                (StatusCode::OK, TEXT, format!("ready\n{concern}"))
            }
            Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{reason}\n")),
        },
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, PROMETHEUS, edge.metrics()),
        (_, "/livez" | "/readyz" | "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, TEXT, String::new()),
        _ => (StatusCode::NOT_FOUND, TEXT, String::new()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_leave_descriptors_for_all_else() {
        for (descriptors, expected) in [(None, 32), (Some(1024), 32), (Some(64), 16), (Some(20), 5), (Some(0), 2)] {
            assert_eq!(places(descriptors), expected, "{descriptors:?}");
        }
    }
}
