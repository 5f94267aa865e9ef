//! `weir`: the command line, and the one process that hosts everything.
#![forbid(unsafe_code)]

mod audit;
mod clock;
mod demo;
mod dlq;
mod doctor;
mod flows;
mod init;
mod kafka;
mod ledger;
mod metadata;
mod policy;
mod record_settings;
mod reference;
mod replay;
mod retention;
mod settings;
mod up;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use weir_service::settings::Loaded;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Flow logs for Kubernetes: who talked to whom, named as of then, each byte counted once.
#[derive(Debug, Parser)]
#[command(name = "weir", version, max_term_width = 110, disable_help_subcommand = true, after_help = EXAMPLES)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  sudo weir up                             count this host's connections and show them on http://127.0.0.1:8080
  weir up --demo                           the same with a small simulated cluster; needs no rights
  weir up --pcap capture.pcap              the same from a capture file
  weir flows --namespace shop --follow     named flows as they come
  weir flows --action deny -o json         denied flows, as documents
  weir flows --source pcap:FILE -o jsonl   every flow of a capture file, with nothing else running
  weir replay --from 3h --to 2h --compare  make past flows again from the raw topic: are they the same?
  weir policy connections --manifests DIR  who may talk to whom, by the network policies of a folder
  weir explain shop/web shop/db 5432 --manifests DIR   which rule allows or denies it
  weir settings set --filter 'drop: dst.port == 53'    other settings, from a window on
  weir retention plan                      what would be deleted, and why
  weir ledger                              is everything that was seen in records, or lost for which reason?
  weir dlq list                            what could not be indexed, and why
  weir doctor                              what this kernel and these capabilities allow to capture";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in one process: broker, search, agent, metadata, enricher, indexer, retention, console
    Up(Box<up::UpSettings>),
    /// Make the topics and settings of a cluster, before its services start (`up` does it by itself)
    Init(Box<init::InitSettings>),
    /// Show the settings that decide a cluster's records, or give it others from a time on
    #[command(after_long_help = settings::HELP)]
    Settings(Box<settings::SettingsCommand>),
    /// List named flows
    Flows(Box<flows::FlowsSettings>),
    /// Make the flows of past windows again from the raw topic: to the byte what was written then
    #[command(after_long_help = replay::HELP)]
    Replay(Box<replay::ReplaySettings>),
    /// Check network policies, and list who may talk to whom
    #[command(after_long_help = policy::HELP)]
    Policy(Box<policy::PolicyCommand>),
    /// Say which rule allows or denies a connection
    #[command(after_long_help = policy::EXPLAIN_HELP)]
    Explain(Box<policy::ExplainSettings>),
    /// Say where all that agents saw has gone: in records, or lost for which reason
    #[command(after_long_help = ledger::HELP)]
    Ledger(Box<ledger::LedgerSettings>),
    /// Give up on metadata that nobody will write, so that the windows that wait for it are written
    #[command(after_long_help = metadata::HELP)]
    Metadata(Box<metadata::MetadataCommand>),
    /// List what could not be processed, and have it processed again
    Dlq(Box<dlq::DlqCommand>),
    /// Show or apply what the disk budget asks for
    Retention(Box<retention::RetentionCommand>),
    /// Say what can be captured here, and what each missing feature needs
    #[command(after_long_help = doctor::HELP)]
    Doctor(doctor::DoctorSettings),
    /// Print the reference of settings as Markdown (docs/reference-settings.md is made of it)
    #[command(hide = true)]
    Reference(reference::ReferenceSettings),
}

fn main() -> ExitCode {
    let loaded = match weir_service::run::load::<CommandLine>(std::env::args_os()) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    match loaded.settings.command {
        Command::Up(ref settings) => {
            let settings = settings.clone();
            up::main(with(loaded, *settings))
        }
        Command::Init(ref settings) => {
            let settings = settings.clone();
            init::main(with(loaded, *settings))
        }
        Command::Settings(ref settings) => {
            let settings = settings.clone();
            settings::main(with(loaded, *settings))
        }
        Command::Flows(ref settings) => {
            let settings = settings.clone();
            flows::main(with(loaded, *settings))
        }
        Command::Replay(ref settings) => {
            let settings = settings.clone();
            replay::main(with(loaded, *settings))
        }
        Command::Policy(ref settings) => {
            let settings = settings.clone();
            policy::main(with(loaded, *settings))
        }
        Command::Explain(ref settings) => {
            let settings = settings.clone();
            policy::explain(with(loaded, *settings))
        }
        Command::Ledger(ref settings) => {
            let settings = settings.clone();
            ledger::main(with(loaded, *settings))
        }
        Command::Metadata(ref settings) => {
            let settings = settings.clone();
            metadata::main(with(loaded, *settings))
        }
        Command::Dlq(ref settings) => {
            let settings = settings.clone();
            dlq::main(with(loaded, *settings))
        }
        Command::Retention(ref settings) => {
            let settings = settings.clone();
            retention::main(with(loaded, *settings))
        }
        Command::Doctor(settings) => doctor::main(&settings),
        Command::Reference(settings) => reference::main(&settings),
    }
}

/// The same loaded settings, of the subcommand alone.
fn with<T>(loaded: Loaded<CommandLine>, settings: T) -> Loaded<T> {
    Loaded { settings, mode: loaded.mode, effective: loaded.effective, file: loaded.file }
}
