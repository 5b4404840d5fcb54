//! Another process that uses a SQLite file, and does what a test tells it to.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use cacheme_storage::Chain;

use super::{entry, open};

const URL: &str = "CACHEME_TEST_OTHER_URL";

/// What an answer begins with, among what the test harness says.
const ANSWER: &str = "answer: ";

/// The process. It ends when it is dropped.
pub(super) struct Other {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Other {
    pub(super) fn start(url: &str) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "sqlite_other::does_what_the_test_says",
                "--ignored",
                "--nocapture",
            ])
            .env(URL, url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            orders: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// Sets the key there.
    pub(super) fn set(&mut self, key: &str, value: &str) {
        assert_eq!(self.order(&format!("set {key} {value}")), "done");
    }

    /// What is under the key there.
    pub(super) fn get(&mut self, key: &str) -> Option<String> {
        let answer = self.order(&format!("get {key}"));
        let value = answer.strip_prefix("found ").map(Into::into);
        assert!(value.is_some() || answer == "absent", "{answer}");
        value
    }

    fn order(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").unwrap();
        loop {
            let mut line = String::new();
            assert_ne!(
                self.answers.read_line(&mut line).unwrap(),
                0,
                "the process is gone"
            );
            if let Some((_, answer)) = line.trim_end().split_once(ANSWER) {
                return answer.into();
            }
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
#[ignore = "a part of other tests, which run it as a process of its own"]
async fn does_what_the_test_says() {
    let storage = open(&env::var(URL).expect("the other tests say where"));
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<_> = line.split(' ').collect();
        let done = match words[..] {
            ["set", key, value] => storage
                .set(&[entry(key.as_bytes(), value.to_owned(), None)])
                .await
                .map(|()| "done".into()),
            ["get", key] => storage.get(&[key.as_bytes()]).await.map(|found| match &found[0] {
                Some(value) => format!("found {}", String::from_utf8_lossy(value)),
                None => "absent".into(),
            }),
            _ => panic!("no such order: {line}"),
        };
        let answer = done.unwrap_or_else(|error| format!("failed: {}", Chain(&error)));
        println!("{ANSWER}{}", answer.replace('\n', " "));
    }
}
