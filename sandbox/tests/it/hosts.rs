//! Jobs that may reach some hosts and nothing else.
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use tunesmith_sandbox::{Ended, Job, Layer, Mechanism, Net, Status};

use crate::support::{PROBE, Place, STOPPED, companion, confined, run, shell};

const PROXY: &str = "127.0.0.1:3128";

/// A server of this machine that answers every request with its path; says where it is.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || listener.incoming().flatten().for_each(|client| drop(answer(client))));
    at
}

fn answer(mut client: TcpStream) -> std::io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte)? > 0 {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let length = path.len() + 1;
    write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{path}\n")
}

/// A job that may reach `hosts`, and says words to an address.
fn say(hosts: &[&str], address: &str, words: &str) -> Job {
    job(hosts, Job::new([companion().as_str(), "say", address, words]))
}

fn job(hosts: &[&str], mut job: Job) -> Job {
    job.net = Net::Hosts(hosts.iter().map(|host| (*host).to_owned()).collect());
    job.limits.wall = Some(Duration::from_secs(20));
    job
}

fn tunnel(host: &str) -> String {
    format!("CONNECT {host} HTTP/1.1\r\n\r\nGET /inside HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[tokio::test]
async fn an_allowed_host_is_reached_through_a_tunnel_and_by_its_url() {
    let (place, server) = (Place::new(), server());
    let (finished, tunnelled) = place.run(say(&[&server], PROXY, &tunnel(&server))).await;
    assert_eq!((finished.ended, finished.refused_hosts), (Ended::Exit(0), vec![]));
    assert_eq!(
        (tunnelled[0].trim(), tunnelled.last().unwrap().as_str()),
        ("HTTP/1.1 200 Connection established", "/inside")
    );
    let by_url = format!("GET http://{server}/path?q HTTP/1.1\r\nHost: other\r\n\r\n");
    let (finished, told) = place.run(say(&[&server], PROXY, &by_url)).await;
    assert_eq!((finished.ended, told.last().unwrap().as_str()), (Ended::Exit(0), "/path?q"));
    assert!(finished.layers.contains(&(Layer::Network, Status::Enforced)), "{:?}", finished.layers);
    let port = server.split_once(':').unwrap().1;
    let localhost = format!("localhost:{port}");
    let (_, told) = place.run(say(&[&localhost], PROXY, &tunnel(&localhost))).await;
    assert_eq!(told.last().unwrap(), "/inside");
}

#[tokio::test]
async fn every_other_host_is_refused_and_told() {
    let (place, server) = (Place::new(), server());
    let port = server.split_once(':').unwrap().1;
    let other = format!("127.0.0.2:{port}");
    let localhost = format!("localhost:{port}");
    for host in ["a.example:443", "127.0.0.1:1", "[::1]:443", "169.254.169.254:80", &other, &localhost] {
        let (finished, answer) = place.run(say(&[&server, "b.example"], PROXY, &tunnel(host))).await;
        let flag = host.trim_end_matches(":443").trim_end_matches(":80");
        let why = format!(
            "the job may not reach {flag}; the user can allow it with --net {flag} (sandbox) or --allow network:{flag} (run)"
        );
        assert_eq!((answer[0].trim(), answer.last()), ("HTTP/1.1 403 Forbidden", Some(&why)));
        assert_eq!(finished.refused_hosts, [flag]);
    }
    let by_url = format!("GET http://{other}/ HTTP/1.1\r\nHost: {server}\r\n\r\n");
    let (finished, answer) = place.run(say(&[&server], PROXY, &by_url)).await;
    assert_eq!((answer[0].trim(), finished.refused_hosts), ("HTTP/1.1 403 Forbidden", vec![other]));
}

#[tokio::test]
async fn nothing_is_reached_but_through_the_proxy() {
    let (place, server) = (Place::new(), server());
    let (direct, _) = place.run(say(&[&server], &server, "GET / HTTP/1.1\r\n\r\n")).await;
    assert_eq!((direct.ended, direct.refused_hosts), (Ended::Exit(1), vec![]));
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = udp.local_addr().unwrap().to_string();
    let (sent, _) = place.run(job(&[&target], Job::new([companion().as_str(), PROBE, "udp", &target]))).await;
    assert_eq!(sent.ended, STOPPED);
    for address in ["192.0.2.1:80", "1.1.1.1:443"] {
        let (finished, _) = place.run(job(&[], Job::new([companion().as_str(), PROBE, "tcp", address]))).await;
        assert_eq!(finished.ended, STOPPED, "{address}");
    }
}

#[tokio::test]
async fn jobs_without_hosts_have_no_proxy() {
    let place = Place::new();
    let (finished, _) = place.run(Job::new([companion().as_str(), PROBE, "tcp", PROXY])).await;
    assert_eq!(finished.ended, STOPPED);
    let (finished, _) = place.run(Job::new([companion().as_str(), PROBE, "env"])).await;
    assert_eq!(finished.ended, STOPPED);
    assert!(TcpStream::connect(PROXY).is_err(), "the proxy listens in the caller's network");
}

#[tokio::test]
async fn jobs_at_the_same_time_have_their_own_hosts() {
    let (place, other) = (Place::new(), Place::new());
    let (one, two) = (server(), server());
    let script = |host: &str| format!("$COMPANION say {PROXY} 'GET http://{host}/x HTTP/1.1\r\n\r\n' | tail -n 1");
    let both = format!("{}; {}", script(&one), script(&two));
    let (first, second) = tokio::join!(place.run(job(&[&one], shell(&both))), other.run(job(&[&two], shell(&both))));
    let refused = |host: &str| {
        format!(
            "the job may not reach {host}; the user can allow it with --net {host} (sandbox) or --allow network:{host} (run)"
        )
    };
    assert_eq!((first.1, first.0.refused_hosts), (vec!["/x".to_owned(), refused(&two)], vec![two.clone()]));
    assert_eq!((second.1, second.0.refused_hosts), (vec![refused(&one), "/x".to_owned()], vec![one]));
}

#[tokio::test]
async fn a_connection_ends_with_its_job() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let running = confined().spawn(&place.dir, say(&[&host], PROXY, &tunnel(&host))).unwrap();
    let heard = tokio::task::spawn_blocking(move || {
        let mut server = listener.accept().unwrap().0;
        server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut start = [0; 11];
        server.read_exact(&mut start).unwrap();
        (server, start)
    });
    let (mut server, start) = heard.await.unwrap();
    assert_eq!(&start, b"GET /inside");
    running.cancel();
    assert_eq!(running.wait().await.ended, Ended::Cancelled);
    let end = server.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
    assert!(end.is_ok() || end == Err(ErrorKind::ConnectionReset), "{end:?}");
}

#[tokio::test]
async fn without_namespaces_such_a_job_does_not_start() {
    let place = Place::new();
    let marked = job(&["a.example"], shell("touch started"));
    let local = confined().without(Mechanism::Namespaces);
    let (finished, _) = run(&local, &place.dir, marked.clone()).await;
    let why = "only some hosts are allowed to it, which needs namespaces: left out";
    assert_eq!(finished.ended, Ended::Failed(why.into()));
    assert!(!place.dir.path().join("started").exists());
    let (finished, _) = run(&confined().unconfined(), &place.dir, marked).await;
    assert_eq!(finished.ended, Ended::Exit(0));
}

#[tokio::test]
async fn a_host_that_cannot_be_read_is_an_error_before_anything_starts() {
    let place = Place::new();
    let why = confined().spawn(&place.dir, job(&["a/b"], shell("true"))).unwrap_err().to_string();
    assert_eq!(why, "cannot allow the host `a/b`: write it as HOST, HOST:PORT or *.DOMAIN");
}

#[tokio::test]
async fn curl_and_git_find_the_proxy_themselves() {
    let (place, server) = (Place::new(), server());
    let curl = format!("curl -sS http://{server}/one && curl -sS -p http://{server}/two && curl -sS http://a.example/");
    let why = "the job may not reach a.example; the user can allow it with --net a.example (sandbox) or --allow \
               network:a.example (run)";
    let git = format!("git ls-remote http://{server}/three 2>&1 | grep -o '/three/[a-z/]*' | head -n 1");
    for (program, script, expected, refused) in [
        ("curl", curl, ["/one", "/two", why].as_slice(), ["a.example"].as_slice()),
        ("git", git, &["/three/info/refs"], &[]),
    ] {
        if !["/usr/bin", "/usr/local/bin"].iter().any(|folder| std::path::Path::new(folder).join(program).exists()) {
            println!("skipped: {program} is not installed");
            continue;
        }
        let (finished, told) = place.run(job(&[&server], shell(&script))).await;
        let told: Vec<&str> = told.iter().map(String::as_str).collect();
        assert_eq!((finished.ended, told.as_slice()), (Ended::Exit(0), expected), "{program}");
        assert_eq!(finished.refused_hosts, refused);
    }
}
