//! The commands.
#![expect(clippy::print_stderr, reason = "commands talk to whoever runs them")]

mod commands;

use std::{
    ffi::OsStr,
    net::SocketAddr,
    path::Path,
    process::{self, ExitCode},
    sync::atomic::Ordering,
};

use commands::{CommandError, print, users};
use phonepass::{
    api,
    app::{self, App, StartError},
    auth::{
        event::{self, Event, Subject},
        keys,
    },
    clock::Clock,
    config::{Cli, Command, Config, HiddenUrl, KeysCommand, LoadError, SmsProviderName},
    env_file,
    random::Random,
    server::{self, Door, Room},
    telemetry::{
        self, metrics,
        signals::StopSignals,
        traces::{self, Traces},
    },
};
use tokio::{net::TcpListener, time::timeout};

/// The exit code for settings that have to be changed.
const WRONG_SETTINGS: u8 = 2;

/// The exit code after a second signal: what was under way is cut off.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    if let Err(problems) = env_file::load(Path::new(".env")) {
        eprintln!("{}", problems.join("\n"));
        return WRONG_SETTINGS.into();
    }
    let cli = match Cli::from_process() {
        Ok(cli) => cli,
        Err(LoadError::Clap(error)) => error.exit(),
        Err(LoadError::Problems(problems)) => {
            eprintln!("{problems}");
            return WRONG_SETTINGS.into();
        }
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime needs no more than threads");
    match runtime.block_on(run(cli.command.unwrap_or_default(), &cli.config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(CommandError::ReaderGone) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            match error {
                CommandError::Start(StartError::Config(_)) => WRONG_SETTINGS.into(),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn run(command: Command, config: &Config) -> Result<(), CommandError> {
    match command {
        Command::Serve => {
            let _log = telemetry::init(config.log_format, config.log_level);
            let _traces = collector(config)?;
            Ok(serve(config).await?)
        }
        Command::Migrate => {
            app::open_database(config).await?;
            print("The schema is up to date.\n")
        }
        Command::Openapi { lang } => print(api::print(api::documents(config).in_language(lang))),
        Command::Keys(KeysCommand::Generate) => {
            let _log = telemetry::init(config.log_format, config.log_level);
            let path = keys::generate(config.jwt_alg, &config.jwt_keys_dir(), Clock::system().now())
                .map_err(|error| StartError::Io(error.to_string()))?;
            let kid = path.file_stem().map(OsStr::to_string_lossy);
            event::record_by_operator(Event::KeyGenerated, Subject { reason: kid.as_deref(), ..Subject::default() });
            print(format_args!("{}\n", path.display()))
        }
        Command::Keys(KeysCommand::List) => {
            let keys = keys::list(&config.jwt_keys_dir()).map_err(StartError::from)?;
            keys.iter().try_for_each(|(kid, algorithm)| print(format_args!("{kid} {algorithm}\n")))
        }
        Command::Users(command) => {
            let _log = telemetry::init(config.log_format, config.log_level);
            users::run(&command, config).await
        }
    }
}

async fn serve(config: &Config) -> Result<(), StartError> {
    if config.metrics_addr.is_some() {
        metrics::install(Clock::system().now());
    }
    let room = Room::of_process(config.database_max_connections);
    let mut signals = StopSignals::listen().map_err(|error| StartError::Io(format!("signals: {error}")))?;
    let built = tokio::select! {
        built = app::build(config, Clock::system(), Random::system()) => built?,
        () = signals.next() => return Ok(()),
    };
    let App { endpoint, stopping, readiness, detached, background, .. } = built;
    let scrapes = match config.metrics_addr {
        Some(address) => Some(bind("METRICS_ADDR", address).await?),
        None => None,
    };
    let listener = bind("HTTP_ADDR", config.http_addr).await?;
    greet(config);
    if config.prints_codes_in_public() {
        tracing::warn!("SMS_PROVIDER=console prints codes and sends none, although PUBLIC_URL is not local");
    }
    let stop = async {
        signals.next().await;
        tokio::spawn(end_at_once_by(signals));
        stopping.store(true, Ordering::Relaxed);
        tracing::info!("stopping");
        tokio::time::sleep(config.shutdown_delay).await;
    };
    let users = readiness.users.clone();
    let scrapes = async {
        if let Some(listener) = scrapes {
            let door = Door::of(config, room.clone());
            server::serve_at(door, listener, api::metrics(readiness), std::future::pending()).await;
        }
        std::future::pending().await
    };
    let served = async {
        let mut connections = server::serve_at(Door::of(config, room.clone()), listener, endpoint, stop).await;
        let finished = async {
            connections.finish().await;
            detached.finish().await;
            drop(background);
            users.close().await;
        };
        if timeout(server::GRACE, finished).await.is_err() {
            let (requests, work) = (connections.count(), detached.count());
            tracing::warn!(requests, work, "cut off what did not finish in time");
        }
    };
    tokio::select! {
        () = served => {}
        () = scrapes => {}
    }
    tracing::info!("stopped");
    Ok(())
}

/// Ends the process at the next signal: an operator who asks twice does not want to wait.
async fn end_at_once_by(mut signals: StopSignals) {
    signals.next().await;
    // A warning takes the lines that wait in the log along.
    tracing::warn!("ended at once by a second signal");
    process::exit(INTERRUPTED);
}

fn collector(config: &Config) -> Result<Option<Traces>, StartError> {
    let Some(HiddenUrl(url)) = &config.otel_exporter_otlp_endpoint else { return Ok(None) };
    let traces = traces::install(url.as_str(), &config.otel_service_name);
    traces.map(Some).map_err(|error| StartError::Config(format!("OTEL_EXPORTER_OTLP_ENDPOINT: {error}")))
}

async fn bind(setting: &str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError::Io(format!("{setting}={address}: {error}")))
}

/// Tells a newcomer where everything is.
fn greet(config: &Config) {
    let url = config.public_url();
    let sms_page = if config.sms_provider.contains(&SmsProviderName::Console) {
        format!("  SMS page    {url}/dev/sms (console in SMS_PROVIDER: for development)\n")
    } else {
        String::new()
    };
    let (address, data) = (config.http_addr, config.data_dir.display());
    // A service serves, whether or not somebody reads this.
    let _ = print(format_args!(
        "Phonepass listens on http://{address}\n  Swagger UI  {url}/docs\n{sms_page}  Data        {data}\n"
    ));
}
