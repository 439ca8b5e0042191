//! How does a test run a program of its own? As a child that never outlives the test.

use std::{
    env,
    fs::File,
    io::{Read, Seek},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::{Method, RequestBuilder};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{Answer, Tokens};

/// How long a program may take to start or to end on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for something outside of this process to happen.
pub async fn until(what: &str, patience: Duration, mut happened: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !happened().await {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How far the port on which the servers of a Redis Cluster talk with each other is from the one for clients.
const BUS: u16 = 10_000;

/// A port below those that Linux hands out to clients, so that it is still free after a restart.
pub fn free_port() -> u16 {
    let candidates = std::iter::repeat_with(|| rand::random_range(15_000..28_000));
    candidates.take(200).find(|port| is_free(*port)).expect("a free port")
}

/// One whose counterpart for the bus of a cluster is free, too, and is handed out to nothing else.
pub fn free_port_of_cluster() -> u16 {
    let candidates = std::iter::repeat_with(|| rand::random_range(28_000 - BUS..32_000 - BUS));
    candidates.take(200).find(|port| is_free(*port) && is_free(*port + BUS)).expect("two free ports")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// A child process, ended on drop.
pub struct Running(Child);

impl Running {
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal by its name. By a system call: starting `kill` takes long on a busy machine.
    pub fn signal(&self, name: &str) {
        let signal = match name {
            "CONT" => Signal::CONT,
            "HUP" => Signal::HUP,
            "INT" => Signal::INT,
            "STOP" => Signal::STOP,
            "TERM" => Signal::TERM,
            _ => panic!("no signal of tests: {name}"),
        };
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Sends a signal to the program, then to the processes that it has started, such as those of PostgreSQL, of which each
    /// serves a connection.
    pub fn signal_all(&self, name: &str) {
        let pid = self.0.id();
        let children = format!("cat /proc/{pid}/task/{pid}/children 2>/dev/null || pgrep -P {pid} || true");
        let script = format!("kill -{name} {pid} && for child in $({children}); do kill -{name} $child || true; done");
        assert!(Command::new("sh").arg("-c").arg(script).status().unwrap().success());
    }

    /// Lets no file of the program grow beyond so many bytes, or `unlimited`. It has to ignore SIGXFSZ.
    pub fn limit_file_size(&self, bytes: &str) {
        let (pid, limit) = (self.id().to_string(), format!("--fsize={bytes}:unlimited"));
        let limited = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
        assert!(limited.expect("prlimit, of util-linux").success());
    }

    /// The exit code (-1 after a signal), once there is one.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.0.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    pub async fn end(&mut self) -> i32 {
        until("the end of a program", PATIENCE, async || self.exit_code().is_some()).await;
        self.exit_code().unwrap()
    }

    /// SIGKILL: the program notices nothing.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Asked first: PostgreSQL has processes and shared memory of its own to put away.
        let deadline = Instant::now() + Duration::from_secs(5);
        if self.exit_code().is_none() {
            self.signal("INT");
        }
        while self.exit_code().is_none() {
            if Instant::now() > deadline {
                return self.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The path of the program `phonepass`: Cargo builds it before the tests, and puts it one folder above them.
pub fn program() -> PathBuf {
    let test = env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("phonepass")
}

/// The program `phonepass` in a folder of its own, with no environment but the one that is given.
pub struct Process {
    pub url: String,
    pub running: Running,
    stdout: File,
    stderr: File,
    client: reqwest::Client,
}

/// What a program left behind.
#[derive(Debug)]
pub struct Finished {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Fails unless the program succeeded; returns what it printed.
    #[track_caller]
    pub fn expect_success(&self) -> &str {
        assert_eq!(self.code, 0, "{self:?}");
        &self.stdout
    }

    /// Fails unless the settings were refused; returns why.
    #[track_caller]
    pub fn expect_wrong_settings(&self) -> &str {
        assert_eq!(self.code, 2, "{self:?}");
        &self.stderr
    }

    /// The lines of standard error that are for people, not for a log.
    pub fn told(&self) -> Vec<&str> {
        self.stderr.lines().filter(|line| !line.starts_with('{')).collect()
    }
}

impl Process {
    /// Starts it, on a free port.
    pub fn start(folder: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut environment = environment.to_vec();
        environment.insert(0, ("HTTP_ADDR", &address));
        let mut command = Command::new(program());
        command.args(arguments).current_dir(folder);
        Self::of(command, &address, &environment)
    }

    /// Starts it by a command of the test's own, to serve at this address.
    pub fn of(mut command: Command, address: &str, environment: &[(&str, &str)]) -> Self {
        let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        command.env_clear().envs(environment.iter().copied()).stdin(Stdio::null());
        command.stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build().unwrap();
        Self { url: format!("http://{address}"), running: Running::start(&mut command), stdout, stderr, client }
    }

    /// Starts it and waits until it serves.
    pub async fn serve(folder: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut process = Self::start(folder, environment, arguments);
        process.ready().await;
        process
    }

    /// Runs a command to its end.
    pub async fn run(folder: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Finished {
        Self::start(folder, environment, arguments).finished().await
    }

    pub async fn ready(&mut self) {
        until("the service is ready", PATIENCE, async || {
            if let Some(code) = self.running.exit_code() {
                panic!("ended with {code}: {:?}", self.output(code));
            }
            let answer = self.request(Method::GET, "/readyz").send().await;
            answer.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
    }

    /// Waits for its end.
    pub async fn finished(mut self) -> Finished {
        let code = self.running.end().await;
        self.output(code)
    }

    fn output(&mut self, code: i32) -> Finished {
        let [stdout, stderr] = [&mut self.stdout, &mut self.stderr].map(|file| {
            let mut text = String::new();
            file.rewind().unwrap();
            file.read_to_string(&mut text).unwrap();
            text
        });
        Finished { code, stdout, stderr }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        Answer::to(request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    pub async fn refresh(&self, refresh_token: &str) -> Answer {
        self.send(self.request(Method::PUT, "/app/v1_0/authorizations").bearer_auth(refresh_token)).await
    }

    pub async fn sign_in_with(&self, mobile: &str, code: &str) -> Answer {
        self.post("/app/v1_0/authorizations", json!({ "mobile": mobile, "code": code })).await
    }

    /// Signs in as a newcomer does: the code is at `/dev/sms`.
    pub async fn sign_in(&self, mobile: &str) -> Tokens {
        self.get(&format!("/app/v1_0/sms/codes/{mobile}")).await.expect(200);
        let messages = self.send(self.request(Method::GET, "/dev/sms").header("accept", "application/json")).await;
        let code = messages.expect(200)[0]["code"].as_str().unwrap().to_owned();
        Tokens::of(&self.sign_in_with(mobile, &code).await.expect(201))
    }
}
