//! `tmem serve`: metrics over HTTP for monitoring systems. A scrape takes a
//! snapshot; between scrapes nothing is done.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use super::args::{Global, Serve};
use super::commands::{Watch, open, print};
use crate::openmetrics;
use crate::source::Source;

/// Connections at a time; a monitoring system needs one.
const CONNECTIONS: usize = 16;

/// Longest wait for a request's head.
const PATIENCE: Duration = Duration::from_secs(10);

type Shared = Arc<Mutex<Box<dyn Source>>>;

/// Serves until SIGTERM or SIGINT.
pub(super) async fn serve(global: &Global, options: &Serve) -> anyhow::Result<u8> {
    let watch = Watch {
        observe: !options.no_ebpf,
        sample_one_in: 0,
    };
    let source: Shared = Arc::new(Mutex::new(open(global, watch)?));
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    let address: SocketAddr = listener.local_addr()?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut interrupts = signal(SignalKind::interrupt())?;
    print(&format!("listening on http://{address}/metrics\n"))?;
    // Fails only where there is no service manager to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = terminations.recv() => return Ok(0),
            _ = interrupts.recv() => return Ok(0),
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // The peer may be gone already, or files be short for a while.
                log::warn!("accepting a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            continue;
        };
        let source = source.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let response = answer(&request, &source);
                async { Ok::<_, Infallible>(response) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), answer)
                .await;
            if let Err(error) = served {
                log::debug!("a connection ended: {error}");
            }
            drop(slot);
        });
    }
}

fn answer(request: &Request<Incoming>, source: &Shared) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return response(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "GET only\n".to_owned(),
        );
    }
    match request.uri().path() {
        "/metrics" => {
            let snapshot = source
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .snapshot();
            match snapshot {
                Ok(snapshot) => response(
                    StatusCode::OK,
                    openmetrics::CONTENT_TYPE,
                    openmetrics::render(&snapshot),
                ),
                Err(error) => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{error}\n")),
            }
        }
        "/" => response(StatusCode::OK, TEXT, "metrics are at /metrics\n".to_owned()),
        _ => response(
            StatusCode::NOT_FOUND,
            TEXT,
            "metrics are at /metrics\n".to_owned(),
        ),
    }
}

fn response(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let value = hyper::header::HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, value);
    response
}
