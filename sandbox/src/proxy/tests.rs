use super::*;

/// A proxy for `allowed` where every name is at `127.0.0.1`, and where nobody is waited for.
async fn proxy(allowed: &[&str], patience: Patience) -> (Arc<Proxy>, SocketAddr, JoinSet<Infallible>) {
    let allowed: Vec<String> = allowed.iter().map(|host| (*host).to_owned()).collect();
    let find = |target: Target| -> Addresses {
        Box::pin(async move { Ok(vec![SocketAddr::from(([127, 0, 0, 1], target.port))]) })
    };
    let hosts = Hosts::new(&allowed).unwrap();
    let proxy = Arc::new(Proxy { hosts, find, patience, refused: Mutex::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(proxy.clone().serve(listener));
    (proxy, at, serving)
}

fn patient() -> Patience {
    let ten = Duration::from_secs(10);
    Patience { head: ten, connect: ten, idle: ten }
}

/// A server that answers once with what it was sent until an empty line and so many bytes more, or until the end.
async fn echo(more: usize) -> (u16, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        let whole = |heard: &[u8]| heard.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4 + more);
        while whole(&heard).is_none_or(|whole| heard.len() < whole) && client.read_buf(&mut heard).await.unwrap() > 0 {}
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        client.write_all(&heard).await.unwrap();
        String::from_utf8(heard).unwrap()
    });
    (port, task)
}

async fn say(proxy: SocketAddr, words: &str) -> String {
    let mut client = TcpStream::connect(proxy).await.unwrap();
    client.write_all(words.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_refused_unless_that_was_allowed() {
    let (port, _server) = echo(0).await;
    let (name, itself) = (format!("a.example:{port}"), format!("127.0.0.1:{port}"));
    let (refusing, at, _serving) = proxy(&[&name], patient()).await;
    let answer = say(at, &format!("CONNECT {name} HTTP/1.1\r\n\r\n")).await;
    let why = format!(
        "{name} is at {itself}, which is not a public address; the user can allow it with --net {itself} (sandbox) or \
         --allow network:{itself} (run)\n"
    );
    assert_eq!((status(&answer), answer.split("\r\n\r\n").nth(1)), ("403", Some(why.as_str())));
    assert_eq!(refusing.refused(), std::slice::from_ref(&itself));
    let (allowing, at, _serving) = proxy(&[&name, &itself], patient()).await;
    let answer = say(at, &format!("CONNECT {name} HTTP/1.1\r\n\r\nhello\r\n\r\n")).await;
    let established = "HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello\r\n\r\n";
    assert_eq!((answer.as_str(), allowing.refused()), (established, vec![]));
}

#[tokio::test]
async fn a_second_request_on_a_connection_goes_nowhere() {
    let (port, server) = echo(4).await;
    let (proxy, at, _serving) = proxy(&[&format!("127.0.0.1:{port}")], patient()).await;
    let first = format!("POST http://127.0.0.1:{port}/x HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody");
    let second = "GET http://other.example/ HTTP/1.1\r\nHost: other.example\r\n\r\n";
    let answer = say(at, &format!("{first}{second}")).await;
    let heard =
        format!("POST /x HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody");
    assert_eq!(answer, format!("HTTP/1.1 200 OK\r\n\r\n{heard}"));
    assert_eq!((server.await.unwrap(), proxy.refused()), (heard, vec![]));
}

#[tokio::test]
async fn heads_that_are_too_long_too_slow_or_cut_off_end_the_connection() {
    let patience = Patience { head: Duration::from_millis(200), ..patient() };
    let (_proxy, at, _serving) = proxy(&["a.example"], patience).await;
    let bomb = format!("GET http://a.example/ HTTP/1.1\r\nX: {}", "x".repeat(head::LONGEST));
    assert_eq!(status(&say(at, &bomb).await), "431");
    assert_eq!(status(&say(at, "CONNECT a.example:443 HT").await), "408");
    // One byte now and then is no more than nothing.
    let mut slow = TcpStream::connect(at).await.unwrap();
    let (mut from, mut to) = slow.split();
    let mut answer = String::new();
    let drip = async {
        loop {
            sleep(Duration::from_millis(20)).await;
            if to.write_all(b"x").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        read = from.read_to_string(&mut answer) => drop(read),
        () = drip => {}
    }
    assert_eq!(status(&answer), "408");
    let mut half = TcpStream::connect(at).await.unwrap();
    half.write_all(b"CONNECT a.ex").await.unwrap();
    half.shutdown().await.unwrap();
    half.read_to_string(&mut answer).await.unwrap();
    assert_eq!(status(&answer), "408", "nothing was added");
}

#[tokio::test]
async fn a_silent_tunnel_is_closed_and_a_busy_one_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = format!("127.0.0.1:{port}");
    let (_proxy, at, _serving) = proxy(&[&host], Patience { idle: Duration::from_millis(400), ..patient() }).await;
    let mut client = TcpStream::connect(at).await.unwrap();
    client.write_all(format!("CONNECT {host} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let start = Instant::now();
    // Longer in all than the silence that is borne, in one direction only.
    for _ in 0..10 {
        sleep(Duration::from_millis(80)).await;
        server.write_all(b"x").await.unwrap();
    }
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "HTTP/1.1 200 Connection established\r\n\r\nxxxxxxxxxx");
    assert!(start.elapsed() >= Duration::from_millis(1200), "{:?}", start.elapsed());
}

#[tokio::test]
async fn only_so_many_connections_are_served_at_once() {
    let (_proxy, at, _serving) = proxy(&["a.example"], patient()).await;
    let mut waiting = Vec::new();
    for _ in 0..MOST {
        let mut client = TcpStream::connect(at).await.unwrap();
        client.write_all(b"CONNECT").await.unwrap();
        waiting.push(client);
    }
    let request = "CONNECT b.example:443 HTTP/1.1\r\n\r\n";
    let mut late = TcpStream::connect(at).await.unwrap();
    late.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let early = timeout(Duration::from_millis(200), late.read_to_string(&mut answer)).await;
    assert!(early.is_err(), "it was served too early: {answer}");
    waiting.pop();
    late.read_to_string(&mut answer).await.unwrap();
    assert_eq!(status(&answer), "403");
}

#[tokio::test]
async fn nothing_is_served_once_the_job_has_ended() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let (_proxy, at, serving) = proxy(&[&host], patient()).await;
    let mut client = TcpStream::connect(at).await.unwrap();
    client.write_all(format!("CONNECT {host} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    drop(serving);
    // The end of the file, or a reset; both are an end.
    assert_eq!(server.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(at).await.is_err());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let (proxy, at, _serving) = proxy(&[&host], patient()).await;
    let answer = say(at, &format!("CONNECT {host} HTTP/1.1\r\n\r\n")).await;
    assert_eq!((status(&answer), proxy.refused()), ("502", vec![]));
    assert!(answer.contains(&format!("cannot reach {host}: ")), "{answer}");
}

#[tokio::test]
async fn refused_hosts_are_remembered_once_and_not_without_end() {
    let (proxy, at, _serving) = proxy(&["a.example"], patient()).await;
    for number in 0..2 * REMEMBERED {
        let answer = say(at, &format!("CONNECT b{}.example:443 HTTP/1.1\r\n\r\n", number / 2)).await;
        assert_eq!(status(&answer), "403");
    }
    for _ in 0..2 {
        say(at, "CONNECT late.example:443 HTTP/1.1\r\n\r\n").await;
    }
    let expected: Vec<String> = (0..REMEMBERED).map(|number| format!("b{number}.example")).collect();
    assert_eq!(proxy.refused(), expected);
}

#[cfg(target_os = "linux")]
#[test]
fn a_job_is_told_of_the_proxy_and_of_what_is_its_own() {
    let told = |hosts: &[&str]| {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        variables(&hosts).collect::<std::collections::BTreeMap<_, _>>()
    };
    let all = told(&["a.example"]);
    let url = "http://127.0.0.1:3128".to_owned();
    let (own, outer) = ("localhost,127.0.0.1,::1".to_owned(), "127.0.0.1,::1".to_owned());
    let mut expected: std::collections::BTreeMap<&str, String> =
        ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
            .map(|name| (name, url.clone()))
            .into();
    expected.extend([("no_proxy", own.clone()), ("NO_PROXY", own)]);
    assert_eq!(all, expected);
    assert_eq!(told(&["localhost:8000"])["no_proxy"], outer);
}
