//! The Hub's client against a server on loopback that answers as the Hub does.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tunesmith_tools::hub::{Filters, Hit, Hub, HubConfig};

use crate::support::Place;

/// A server that gives every request this status and body; its address, and the requests it saw.
async fn server(status: u16, body: Value) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                let mut part = [0; 1024];
                match stream.read(&mut part).await {
                    Ok(0) | Err(_) => break,
                    Ok(n) => request.extend(&part[..n]),
                }
            }
            log.lock().unwrap().push(String::from_utf8(request).unwrap());
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes()).await;
        }
    });
    (address, seen)
}

fn hub(endpoint: &str, token: Option<&str>) -> Hub {
    let cache = std::env::temp_dir();
    Hub::new(&HubConfig { endpoint: endpoint.into(), token: token.map(String::from), cache_dir: cache }).unwrap()
}

fn models() -> Value {
    json!([
        {"_id": "1", "id": "a/big", "downloads": 9, "likes": 2, "tags": ["license:mit", "llama"], "gated": "manual",
         "safetensors": {"parameters": {"BF16": 7_000_000_000u64}, "total": 7_000_000_000u64}},
        {"_id": "2", "id": "a/small", "downloads": 5, "tags": ["llama"], "gated": false, "cardData": {"license": "apache-2.0"},
         "safetensors": {"parameters": {"BF16": 135_000_000}, "total": 135_000_000}},
        {"_id": "3", "id": "a/unknown"},
    ])
}

#[tokio::test]
async fn models_are_listed_and_unknown_stays_unknown() {
    let (address, seen) = server(200, models()).await;
    let filters = Filters { licence: Some("mit".into()), limit: 5, ..Filters::default() };
    let hits = hub(&address, Some("hf_secret")).search_models("tiny llama", &filters).await.unwrap();
    let hit = |id: &str| Hit {
        id: id.into(),
        downloads: None,
        likes: None,
        licence: None,
        tags: vec![],
        gated: None,
        parameters: None,
        trainable: None,
    };
    let tags = vec!["llama".to_owned()];
    assert_eq!(
        hits,
        [
            Hit {
                downloads: Some(9),
                likes: Some(2),
                licence: Some("mit".into()),
                tags: tags.clone(),
                gated: Some(true),
                parameters: Some(7_000_000_000),
                trainable: Some(true),
                ..hit("a/big")
            },
            Hit {
                downloads: Some(5),
                licence: Some("apache-2.0".into()),
                tags,
                gated: Some(false),
                parameters: Some(135_000_000),
                trainable: Some(true),
                ..hit("a/small")
            },
            hit("a/unknown"),
        ]
    );
    let request = seen.lock().unwrap()[0].to_lowercase();
    for part in
        ["/api/models?search=tiny+llama&", "filter=license%3amit", "sort=downloads", "authorization: bearer hf_secret"]
    {
        assert!(request.contains(part), "{part} in {request}");
    }
}

#[tokio::test]
async fn a_limit_on_size_leaves_out_what_is_unknown() {
    let (address, _) = server(200, models()).await;
    let mut place = Place::new();
    place.hub = Some(hub(&address, None));
    let found = place.ok("hub_search", json!({"query": "llama", "max_parameters": 1e9})).await;
    let ids: Vec<&str> = found["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a/small"]);
}

#[tokio::test]
async fn without_a_token_none_is_sent() {
    let (address, seen) =
        server(200, json!([{"_id": "1", "id": "o/set", "downloads": 3, "tags": ["license:mit"]}])).await;
    let hits = hub(&address, None).search_datasets("x", &Filters { limit: 1, ..Filters::default() }).await.unwrap();
    assert_eq!((hits.len(), hits[0].licence.as_deref()), (1, Some("mit")));
    let request = seen.lock().unwrap()[0].to_lowercase();
    assert!(request.contains("/api/datasets?") && !request.contains("authorization"), "{request}");
}

#[tokio::test]
async fn every_refusal_says_what_to_do() {
    let filters = Filters { limit: 1, ..Filters::default() };
    for (status, words) in [
        (401, "set HF_TOKEN"),
        (403, "accept the repository's terms"),
        (404, "check the name"),
        (429, "wait some minutes"),
    ] {
        let (address, _) = server(status, json!({"error": "no"})).await;
        let said = hub(&address, None).search_models("x", &filters).await.unwrap_err().to_string();
        assert!(said.contains(words) && said.contains(&address), "{status}: {said}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let said = hub(&format!("http://{closed}"), None).search_models("x", &filters).await.unwrap_err().to_string();
    assert!(said.contains("cannot be reached"), "{said}");
    let wrong = HubConfig { endpoint: "nonsense".into(), token: None, cache_dir: "/tmp".into() };
    assert!(Hub::new(&wrong).is_err_and(|error| error.to_string().contains("is not the address of a Hub")));
}

#[tokio::test]
async fn without_permission_nothing_is_sent() {
    let said = Place::new().error("hub_search", json!({"query": "llama"})).await;
    assert_eq!(said, "not allowed: this run may not use the network; the user can allow it with --allow network:HOST");
}
