//! The life of a whole process: this test starts itself again as a small service and watches it from outside.

#![allow(clippy::unwrap_used, reason = "a test program: a panic is how it fails")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, Output, Stdio};

use clap::Parser;
use weir_service::{Context, HintExt as _, ProcessSettings, ServiceSettings};

#[derive(Debug, Clone, Parser)]
#[command(name = "weir-example", version)]
struct Settings {
    /// What the service does.
    #[arg(long, default_value = "wait")]
    behaviour: String,
    #[arg(long)]
    api_token: Option<String>,
    #[command(flatten)]
    process: ProcessSettings,
}

impl ServiceSettings for Settings {
    fn process(&self) -> &ProcessSettings {
        &self.process
    }

    fn validate(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.behaviour != "impossible", "behaviour `impossible` does not exist");
        Ok(())
    }
}

/// The service's main.
fn service() -> ExitCode {
    weir_service::run("weir-example", "1.2.3", async |context: Context<Settings>| {
        match context.settings.behaviour.as_str() {
            "fail" => Err(anyhow::anyhow!("no broker")).hint("start one"),
            "hang" => {
                tracing::info!("ready");
                std::future::pending().await
            }
            _ => {
                tracing::info!("ready");
                context.shutdown.cancelled().await;
                Ok(())
            }
        }
    })
}

fn child(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env_clear().env("WEIR_TEST_SERVICE", "1").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = child(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Starts a child and waits until it says that it is ready.
fn started(arguments: &[&str]) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = child(arguments).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("ready")), "never ready");
    (child, lines)
}

fn check_and_print() {
    assert_eq!(output(&["--check"]).0, 0);
    assert_eq!(output(&["--check"]).1, "ok\n");
    let (code, text, _) = output(&["--print-config", "--api-token", "hush"]);
    assert_eq!(code, 0);
    assert!(text.contains("behaviour = \"wait\"  # default") && !text.contains("hush"), "{text}");
}

fn usage_errors_exit_with_2() {
    let (code, _, text) = output(&["--nonsense"]);
    assert!(code == 2 && text.contains("--nonsense"), "{code} {text}");
    let (code, _, text) = output(&["--behaviour", "impossible", "--check"]);
    assert_eq!((code, text.as_str()), (2, "error: behaviour `impossible` does not exist\n"));
    let (code, _, text) = output(&["--config", "/nonexistent.toml"]);
    assert!(code == 2 && text.contains("\nhint: "), "{code} {text}");
    assert_eq!(output(&["--help"]).0, 0);
    assert_eq!(output(&["--version"]).1, "weir-example 0.1.0\n");
}

fn telemetry_errors_exit_with_64() {
    let (code, _, text) = output(&["--log", "weir=loud"]);
    assert!(code == 64 && text.starts_with("error: log filter `weir=loud`"), "{code} {text}");
}

fn runtime_errors_exit_with_1() {
    let (code, _, text) = output(&["--behaviour", "fail", "--log-format", "json"]);
    assert_eq!(code, 1);
    assert!(text.ends_with("error: no broker\nhint: start one\n"), "{text}");
    let line = text.lines().next().unwrap();
    assert!(line.starts_with('{') && line.contains("\"version\":\"1.2.3\""), "{line}");
}

fn first_signal_stops_in_order() {
    for name in ["-TERM", "-INT"] {
        let (mut child, _lines) = started(&[]);
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

fn second_signal_stops_at_once() {
    let (mut child, mut lines) = started(&["--behaviour", "hang", "--shutdown-grace", "1h"]);
    signal(&child, "-TERM");
    assert!(lines.any(|line| line.contains("stopping")));
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

fn grace_ends() {
    let (mut child, lines) = started(&["--behaviour", "hang", "--shutdown-grace", "50ms"]);
    signal(&child, "-INT");
    let text: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(text.iter().any(|line| line == "error: weir-example: not stopped after 50ms"));
}

fn main() -> ExitCode {
    if std::env::var_os("WEIR_TEST_SERVICE").is_some() {
        return service();
    }
    // A test program without the usual harness, so that the child's streams and exit code are its own.
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    check_and_print();
    usage_errors_exit_with_2();
    telemetry_errors_exit_with_64();
    runtime_errors_exit_with_1();
    first_signal_stops_in_order();
    second_signal_stops_at_once();
    grace_ends();
    ExitCode::SUCCESS
}
