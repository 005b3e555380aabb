//! What jobs are for still works inside, with the default rights, in namespaces and without them.
use std::fs;
use std::path::Path;

use tunesmith_sandbox::{Ended, Local, Mechanism};

use crate::support::{Place, confined, in_namespaces, run, shell};

/// Runs a script of a shell in each mode; its last line of output must be `works`.
async fn works(programs: &[&str], files: &[(&str, &str)], script: &str) {
    if !installed(programs) {
        return;
    }
    for (mode, local) in modes() {
        runs(mode, &local, files, script).await;
    }
}

async fn runs(mode: &str, local: &Local, files: &[(&str, &str)], script: &str) {
    let place = Place::new();
    for (name, text) in files {
        fs::write(place.dir.path().join(name), text).unwrap();
    }
    let mut job = shell(&format!("exec 2>&1; set -e\n{script}"));
    job.limits.memory = Some(512 << 20);
    let (finished, output) = run(local, &place.dir, job).await;
    let last = output.last().map(String::as_str);
    assert_eq!((finished.ended, last), (Ended::Exit(0), Some("works")), "{mode}: {output:#?}");
}

fn modes() -> [(&'static str, Local); 2] {
    [("all layers", confined()), ("no namespaces", confined().without(Mechanism::Namespaces))]
}

/// Whether the programs are where every job may run them; says which one is not.
fn installed(programs: &[&str]) -> bool {
    let found =
        |name: &str| ["/usr/local/bin", "/usr/bin", "/bin"].iter().any(|dir| Path::new(dir).join(name).is_file());
    let missing: Vec<_> = programs.iter().filter(|name| !found(name)).collect();
    if !missing.is_empty() {
        println!("skipped: {missing:?} is not installed in /usr");
    }
    missing.is_empty()
}

#[tokio::test]
async fn pipelines_archives_and_temporary_files() {
    let script = r#"
        test "$(seq 1 1000 | grep 7 | sort -rn | head -n 1)" = 997
        mkdir -p tree/deep && seq 1 5000 > tree/deep/numbers && ln -s deep/numbers tree/link
        tar -czf tree.tar.gz tree && mkdir again && tar -xzf tree.tar.gz -C again
        cmp tree/deep/numbers again/tree/link && gzip -c tree/deep/numbers | gzip -dc | cmp - tree/deep/numbers
        file=$(mktemp) && echo words > "$file" && mv "$file" kept && cat kept && rm -r again
        echo works"#;
    works(&["seq", "sort", "tar", "gzip", "cmp", "mktemp"], &[], script).await;
}

#[tokio::test]
async fn git() {
    let script = r#"
        git init -q one && cd one && git config user.email a@example.org && git config user.name A
        echo first > file && git add file && git commit -qm first
        echo second >> file && git commit -qam second && test "$(git log --oneline | wc -l)" = 2
        cd .. && git clone -q one two && cmp one/file two/file && git -C two branch new && git -C two gc -q
        test -z "$(git -C two status --porcelain)" && echo works"#;
    works(&["git"], &[], script).await;
}

/// Fourteen threads reserve more than half a gigabyte of addresses and use nearly nothing of it.
const THREADS: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
static pthread_barrier_t all;
static void *work(void *sum) {
    int *numbers = malloc(1000 * sizeof *numbers);
    for (int i = 0; i < 1000; i++) numbers[i] = i;
    for (int i = 0; i < 1000; i++) *(long *)sum += numbers[i];
    pthread_barrier_wait(&all);
    free(numbers);
    return NULL;
}
int main(void) {
    pthread_t threads[14];
    long sums[14] = {0}, total = 0;
    pthread_barrier_init(&all, NULL, 14);
    for (int i = 0; i < 14; i++) if (pthread_create(&threads[i], NULL, work, &sums[i])) return 1;
    for (int i = 0; i < 14; i++) { pthread_join(threads[i], NULL); total += sums[i]; }
    puts(total == 14L * 499500 ? "works" : "wrong");
    return 0;
}
"#;

#[tokio::test]
async fn a_c_compiler_and_a_pool_of_threads() {
    works(&["gcc"], &[("threads.c", THREADS)], "gcc -O2 -Wall -pthread threads.c -o threads && ./threads").await;
}

#[tokio::test]
async fn make() {
    let rules = "threads: threads.o\n\tgcc -pthread -o $@ $<\n%.o: %.c\n\tgcc -pthread -c -o $@ $<\n";
    let files = [("threads.c", THREADS), ("Makefile", rules)];
    works(&["gcc", "make"], &files, "make -s -j 2 && make -q && ./threads").await;
}

#[tokio::test]
async fn python() {
    let program = r#"
import ctypes, hashlib, json, os, sqlite3, ssl, subprocess, sys, tempfile, threading
from concurrent.futures import ThreadPoolExecutor

with tempfile.TemporaryDirectory() as place, tempfile.NamedTemporaryFile() as file:
    file.write(b"bytes")
    database = sqlite3.connect(os.path.join(place, "rows.db"))
    database.execute("create table rows (number integer)")
    database.executemany("insert into rows values (?)", [(n,) for n in range(100)])
    database.commit()
    assert database.execute("select sum(number) from rows").fetchone() == (4950,)
with ThreadPoolExecutor(14) as pool:
    assert sum(pool.map(lambda n: n * n, range(1000))) == 332833500
said = subprocess.run([sys.executable, "-c", "print(input())"], input="words", capture_output=True, text=True)
assert said.stdout == "words\n", said
assert ssl.create_default_context() and len(os.urandom(8)) == 8 and os.cpu_count() > 0
print("works")
"#;
    works(&["python3"], &[("work.py", program)], "python3 work.py").await;
}

#[tokio::test]
async fn pythons_processes_and_servers_in_namespaces() {
    // Semaphores need a directory for shared memory, and servers a loopback interface; both are shared with the whole machine
    // unless a job has its own.
    let program = r#"
import multiprocessing, socket, socketserver, threading

def square(number):
    return number * number

def put(queue, lock):
    with lock:
        queue.put("from a child")

class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline().upper())

if __name__ == "__main__":
    with multiprocessing.Pool(4) as pool:
        assert pool.map(square, range(100)) == [n * n for n in range(100)]
    queue, lock = multiprocessing.Queue(), multiprocessing.Lock()
    child = multiprocessing.Process(target=put, args=(queue, lock))
    child.start()
    assert queue.get(timeout=20) == "from a child"
    child.join()
    with multiprocessing.Manager() as manager:
        assert manager.list([1, 2])[1] == 2
    for host in ["127.0.0.1", "localhost"]:
        with socketserver.TCPServer((host, 0), Echo) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            with socket.create_connection(server.server_address, timeout=20) as client:
                client.sendall(b"words\n")
                assert client.makefile().readline() == "WORDS\n"
            server.shutdown()
    print("works")
"#;
    let local = confined();
    if !in_namespaces(&local).await {
        println!("skipped: there are no namespaces here");
    } else if installed(&["python3"]) {
        runs("all layers", &local, &[("work.py", program)], "python3 work.py").await;
    }
}
