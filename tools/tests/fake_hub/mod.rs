//! A Hub on loopback for tests: the protocol as the Hub's own clients speak it, over real HTTP, with faults on demand.
//!
//! It serves on two ports. The first is the Hub, with the data-set viewer beside it; the second is where it sends those
//! who fetch large files, as the real one does, and sees whether somebody gives a token away there.

#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

pub mod http;
pub mod python;
pub mod store;

mod files;
mod repos;
mod upload;
mod viewer;
mod xet;

use std::{
    collections::BTreeMap,
    net::{Shutdown, TcpListener},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::json;

use http::{Answer, Request};
use store::{Kind, Repo};

/// The token of the user `tester`, who may write to `org` as well.
pub const TOKEN: &str = "hf_TesterTesterTesterTesterTesterTest";

/// A token of somebody else, `guest`.
pub const GUEST: &str = "hf_GuestGuestGuestGuestGuestGuestGues";

/// What goes wrong, for the next requests that fit.
#[derive(Clone, Debug)]
pub struct Fault {
    /// A part of path and query.
    pub part: String,
    /// How many requests it meets.
    pub times: usize,
    pub what: Failing,
}

#[derive(Clone, Debug)]
pub enum Failing {
    /// This answer instead.
    Answer(Answer),
    /// The connection breaks after so many bytes of the body.
    Cut(usize),
    /// The last byte of the body is another one.
    Wrong,
}

/// The server; it ends with this value.
pub struct FakeHub {
    /// The address of the Hub.
    pub endpoint: String,
    shared: Arc<Shared>,
    closing: Arc<AtomicBool>,
}

struct Shared {
    endpoint: String,
    /// Where large files are fetched from.
    other: String,
    state: Mutex<State>,
    /// What clients have stored by Xet.
    cas: tempfile::TempDir,
}

#[derive(Default)]
struct State {
    repos: BTreeMap<(Kind, String), Repo>,
    renamed: BTreeMap<(Kind, String), String>,
    faults: Vec<Fault>,
    seen: Vec<Request>,
    /// Requests for large files.
    fetched: Vec<Request>,
    page: Option<usize>,
}

impl FakeHub {
    pub fn start() -> FakeHub {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (hub, other) = (listen(), listen());
        let address = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        // Another name of the same machine: another host to a client.
        let shared = Arc::new(Shared {
            endpoint: address(&hub),
            other: address(&other).replace("127.0.0.1", "localhost"),
            state: Mutex::default(),
            cas: tempfile::tempdir().unwrap(),
        });
        let closing = Arc::new(AtomicBool::new(false));
        for (listener, answer) in [(hub, Shared::answer as fn(&Shared, &Request) -> Answer), (other, Shared::fetch)] {
            let (shared, closing) = (shared.clone(), closing.clone());
            thread::spawn(move || serve(&listener, &shared, &closing, answer));
        }
        FakeHub { endpoint: shared.endpoint.clone(), shared, closing }
    }

    /// Puts a repository there.
    pub fn add(&self, repo: Repo) {
        self.shared.state().repos.insert((repo.kind, repo.id.clone()), repo);
    }

    /// A repository as it is now.
    pub fn repo(&self, kind: Kind, id: &str) -> Option<Repo> {
        self.shared.state().repos.get(&(kind, id.to_owned())).cloned()
    }

    /// Gives a repository another name, and sends those who ask for the old one there.
    pub fn rename(&self, kind: Kind, old: &str, new: &str) {
        let mut state = self.shared.state();
        let mut repo = state.repos.remove(&(kind, old.to_owned())).unwrap();
        repo.id = new.into();
        state.repos.insert((kind, new.into()), repo);
        state.renamed.insert((kind, old.into()), new.into());
    }

    /// From now on, lists come in pages of so many.
    pub fn page(&self, size: usize) {
        self.shared.state().page = Some(size);
    }

    /// The next `times` requests with `part` in path and query go wrong.
    pub fn fail(&self, part: &str, times: usize, what: Failing) {
        self.shared.state().faults.push(Fault { part: part.into(), times, what });
    }

    /// What was to go wrong and has not yet does not any more.
    pub fn settle(&self) {
        self.shared.state().faults.clear();
    }

    /// The address that large files are fetched from: another host.
    pub fn elsewhere(&self) -> &str {
        &self.shared.other
    }

    /// The requests that came, as `METHOD target`.
    pub fn seen(&self) -> Vec<String> {
        self.shared.state().seen.iter().map(|request| format!("{} {}", request.method, request.target)).collect()
    }

    /// The requests themselves.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().seen.clone()
    }

    /// Requests for large files at the other address.
    pub fn fetched(&self) -> Vec<Request> {
        self.shared.state().fetched.clone()
    }
}

impl Drop for FakeHub {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        for address in [&self.shared.endpoint, &self.shared.other] {
            // Wakes the thread that waits for the next connection.
            let _ =
                std::net::TcpStream::connect(address.trim_start_matches("http://").replace("localhost", "127.0.0.1"));
        }
    }
}

fn serve(listener: &TcpListener, shared: &Arc<Shared>, closing: &AtomicBool, answer: fn(&Shared, &Request) -> Answer) {
    for stream in listener.incoming() {
        if closing.load(Ordering::Relaxed) {
            return;
        }
        let (Ok(stream), shared) = (stream, shared.clone()) else { return };
        thread::spawn(move || {
            if let Ok(Some(request)) = http::read(&stream) {
                let answer = answer(&shared, &request);
                let _ = http::write(&stream, &request.method, &answer);
            }
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What the Hub says.
    fn answer(&self, request: &Request) -> Answer {
        self.state().seen.push(request.clone());
        self.faulty(request, |request| match self.user(request) {
            Err(refusal) => refusal,
            Ok(user) => self.route(request, user),
        })
    }

    /// What the place for large files says. It knows nobody.
    fn fetch(&self, request: &Request) -> Answer {
        self.state().fetched.push(request.clone());
        self.faulty(request, |request| self.large(request))
    }

    fn faulty(&self, request: &Request, answer: impl FnOnce(&Request) -> Answer) -> Answer {
        let due = {
            let mut state = self.state();
            let fits = |fault: &&mut Fault| fault.times > 0 && request.target.contains(&fault.part);
            // A cut and a wrong byte need a body.
            let body = |fault: &&mut Fault| request.method != "HEAD" || matches!(fault.what, Failing::Answer(_));
            state.faults.iter_mut().filter(fits).find(body).map(|fault| {
                fault.times -= 1;
                fault.what.clone()
            })
        };
        match due {
            None => answer(request),
            Some(Failing::Answer(answer)) => answer,
            Some(Failing::Cut(after)) => Answer { cut: Some(after), ..answer(request) },
            Some(Failing::Wrong) => {
                let mut answer = answer(request);
                answer.body.last_mut().into_iter().for_each(|byte| *byte ^= 1);
                answer
            }
        }
    }

    fn user(&self, request: &Request) -> Result<Option<&'static str>, Answer> {
        match (request.headers.get("authorization"), request.token()) {
            (None, _) => Ok(None),
            (_, Some(TOKEN)) => Ok(Some("tester")),
            (_, Some(GUEST)) => Ok(Some("guest")),
            _ => Err(Answer::refused(401, "", "Invalid credentials in Authorization header")),
        }
    }

    fn route(&self, request: &Request, user: Option<&str>) -> Answer {
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        let kind = |plural: &str| match plural {
            "models" => Some(Kind::Model),
            "datasets" => Some(Kind::Dataset),
            _ => None,
        };
        let post = request.method == "POST";
        match path[..] {
            ["api", "whoami-v2"] => repos::whoami(user),
            ["api", "validate-yaml"] if post => Answer::json(&json!({"errors": [], "warnings": []})),
            ["api", "repos", "create"] if post => self.create(request, user),
            ["api", plural] if kind(plural).is_some() => self.list(kind(plural).unwrap(), request, user),
            ["api", plural, owner, name, ref rest @ ..] if kind(plural).is_some() => {
                self.repo_api(kind(plural).unwrap(), &format!("{owner}/{name}"), rest, request, user)
            }
            ["datasets", owner, name, "resolve", revision, ref file @ ..] => {
                self.resolve(Kind::Dataset, &format!("{owner}/{name}"), revision, &file.join("/"), request, user)
            }
            [owner, name, "resolve", revision, ref file @ ..] => {
                self.resolve(Kind::Model, &format!("{owner}/{name}"), revision, &file.join("/"), request, user)
            }
            ["datasets", _, _, "info", "lfs", "objects", "batch"] | [_, _, "info", "lfs", "objects", "batch"]
                if post =>
            {
                upload::batch(request)
            }
            ["splits" | "first-rows" | "rows" | "size" | "statistics"] => self.view(path[0], request, user),
            _ => Answer::refused(404, "", "Sorry, we can't find the page you are looking for."),
        }
    }

    fn repo_api(&self, kind: Kind, id: &str, rest: &[&str], request: &Request, user: Option<&str>) -> Answer {
        if let Some(new) = self.state().renamed.get(&(kind, id.to_owned())) {
            let plural = if kind == Kind::Model { "models" } else { "datasets" };
            let to = request.target.replacen(&format!("/api/{plural}/{id}"), &format!("/api/{plural}/{new}"), 1);
            return Answer::new(307, Vec::new()).with("location", &to);
        }
        let repo = match self.visible(kind, id, user) {
            Ok(repo) => repo,
            Err(refusal) => return refusal,
        };
        match *rest {
            [] => repos::info(&repo, "main", request),
            ["revision", revision] => repos::info(&repo, revision, request),
            ["tree", revision, ref folder @ ..] => self.tree(&repo, revision, &folder.join("/"), request),
            ["preupload", _] => upload::preupload(request),
            ["xet-read-token", _] => self.xet_token(),
            ["xet-write-token", _] => writing(&repo, user).unwrap_or_else(|| self.xet_token()),
            ["commit", "main"] => writing(&repo, user).unwrap_or_else(|| self.commit(&repo, request)),
            _ => Answer::refused(404, "", "Sorry, we can't find the page you are looking for."),
        }
    }

    /// A repository, for those who may know of it.
    fn visible(&self, kind: Kind, id: &str, user: Option<&str>) -> Result<Repo, Answer> {
        let repo = self.state().repos.get(&(kind, id.to_owned())).cloned();
        match (repo.filter(|repo| !repo.private || owns(repo.owner(), user)), user) {
            (Some(repo), _) => Ok(repo),
            (None, None) => Err(Answer::refused(401, "RepoNotFound", "Invalid username or password.")),
            (None, Some(_)) => Err(Answer::refused(404, "RepoNotFound", "Repository not found")),
        }
    }

    fn xet_token(&self) -> Answer {
        let store = format!("local://{}", self.cas.path().display());
        let answer = Answer::json(&json!({"accessToken": "xet", "exp": 4_102_444_800_u64, "casUrl": store}));
        answer
            .with("x-xet-cas-url", &store)
            .with("x-xet-access-token", "xet")
            .with("x-xet-token-expiration", "4102444800")
    }
}

/// Why this user may not write there.
fn writing(repo: &Repo, user: Option<&str>) -> Option<Answer> {
    (!owns(repo.owner(), user)).then(|| match user {
        None => Answer::refused(401, "", "Invalid username or password."),
        Some(_) => Answer::refused(403, "", "Forbidden: you don't have write access to this repository"),
    })
}

/// Whether a user has, or belongs to, this name.
fn owns(owner: &str, user: Option<&str>) -> bool {
    match user {
        Some("tester") => ["tester", "org"].contains(&owner),
        Some(user) => owner == user,
        None => false,
    }
}
