//! Waiting, on a paused clock and without a socket: the service that sends is a function.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Mutex;

use async_openai::middleware::HttpRequestFactory;
use reqwest::{Body, Response};
use tokio::time::Instant;

use super::*;
use crate::model::Form;

/// What the server does with one request.
enum Does {
    Status(u16, Vec<(&'static str, &'static str)>),
    /// Sends this, and then nothing more, without ending.
    Stall(&'static str),
    Say(&'static str),
    /// Never answers.
    Hang,
}

const WHOLE: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\n";

fn response(does: Does) -> Response {
    let builder = http::Response::builder();
    let body = match does {
        Does::Status(status, headers) => {
            let builder = headers.into_iter().fold(builder.status(status), |b, (name, value)| b.header(name, value));
            return builder.body(Body::from("no")).unwrap().into();
        }
        Does::Say(text) => Body::from(text),
        Does::Stall(text) => {
            let first = futures_util::stream::iter([Ok::<_, std::io::Error>(text)]);
            Body::wrap_stream(first.chain(futures_util::stream::pending()))
        }
        Does::Hang => unreachable!("a hanging server has no response"),
    };
    builder.header("content-type", "text/event-stream").body(body).unwrap().into()
}

/// Asks such a server; the reply's text or the error, and the seconds at which each request came.
async fn ask(seed: u64, does: Vec<Does>) -> (Result<String, ModelError>, Vec<f64>) {
    let began = Instant::now();
    let came = Arc::new(Mutex::new(Vec::new()));
    let queue = Arc::new(Mutex::new(does.into_iter()));
    let log = came.clone();
    let service = tower::service_fn(move |_: HttpRequestFactory| {
        log.lock().unwrap().push(began.elapsed().as_secs_f64());
        let next = queue.lock().unwrap().next().unwrap_or(Does::Status(500, vec![]));
        async move {
            match next {
                Does::Hang => std::future::pending().await,
                does => Ok::<_, OpenAIError>(response(does)),
            }
        }
    });
    let endpoint = Endpoint { base: "http://h/v1".into(), model: "m".into(), key: None, facts: Facts::default() };
    let mut model = OpenAi::new(endpoint, seed).unwrap();
    model.http = BoxCloneSyncService::new(service);
    let reply = model.chat(Request { messages: &[], tools: &[], form: Form::default() }, &mut |_| {}).await;
    let came = came.lock().unwrap().clone();
    (reply.map(|reply| reply.text), came)
}

fn hi() -> Result<String, ModelError> {
    Ok("hi".to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_as_long_as_the_provider_asks() {
    let seconds = Does::Status(429, vec![("retry-after", "7")]);
    let date = Does::Status(
        503,
        vec![("date", "Fri, 20 Nov 2026 10:00:00 GMT"), ("retry-after", "Fri, 20 Nov 2026 10:00:30 GMT")],
    );
    let past = Does::Status(
        503,
        vec![("date", "Fri, 20 Nov 2026 10:00:00 GMT"), ("retry-after", "Fri, 20 Nov 2026 09:00:00 GMT")],
    );
    let (reply, came) = ask(1, vec![seconds, date, past, Does::Say(WHOLE)]).await;
    assert_eq!((reply, came), (hi(), vec![0.0, 7.0, 37.0, 37.0]));
}

#[tokio::test(start_paused = true)]
async fn without_advice_the_waits_double_with_a_jitter_that_only_the_seed_decides() {
    let (reply, came) = ask(1, vec![]).await;
    assert_eq!(reply.map_err(|error| (error.kind, error.status)), Err((ErrorKind::Server, Some(500))));
    let waits: Vec<f64> = came.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits.len(), 4);
    for (wait, full) in waits.iter().zip([0.5, 1.0, 2.0, 4.0]) {
        // The clock counts in milliseconds.
        assert!((full / 2.0 - 0.002..=full + 0.002).contains(wait), "{wait} for {full}");
    }
    assert_eq!(ask(1, vec![]).await.1, came);
    assert_ne!(ask(2, vec![]).await.1, came);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_an_hour() {
    let (reply, came) = ask(1, vec![Does::Status(429, vec![("retry-after", "3600")])]).await;
    let expected = ModelError {
        kind: ErrorKind::Rate,
        status: Some(429),
        message: "no".into(),
        retry_after: Some(Duration::from_secs(3600)),
        spent: false,
        window: None,
    };
    assert_eq!((reply, came), (Err(expected), vec![0.0]));
}

#[tokio::test(start_paused = true)]
async fn advice_that_is_no_time_is_ignored() {
    for advice in ["soon", "-1", "1e999", "Fri, 20 Nov 2026 10:00:30 GMT"] {
        let (reply, came) = ask(1, vec![Does::Status(429, vec![("retry-after", advice)]), Does::Say(WHOLE)]).await;
        assert_eq!(reply, hi());
        assert!(came[1] > 0.2 && came[1] < 0.6, "{advice}: {}", came[1]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_falls_silent_is_asked_again() {
    let half = "data: {\"choices\":[{\"delta\":{\"content\":\"never\"}}]}\n\n";
    let (reply, came) = ask(1, vec![Does::Stall(half), Does::Say(WHOLE)]).await;
    assert_eq!(reply, hi());
    assert!(came[1] > 180.0 && came[1] < 181.0, "{}", came[1]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up() {
    let (reply, came) = ask(1, (0..9).map(|_| Does::Hang).collect()).await;
    // It may have worked all the while, so it may have cost something.
    let expected = ModelError { spent: true, ..ModelError::new(ErrorKind::Network, "no answer for 300 s") };
    assert_eq!((reply, came.len()), (Err(expected), 5));
}
