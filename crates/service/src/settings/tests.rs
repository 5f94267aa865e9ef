//! Precedence, refusals and the effective text.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use clap::{Parser, Subcommand};

use super::*;

#[derive(Debug, Clone, Parser)]
#[command(name = "example", version = "1.2.3")]
struct Example {
    /// Partitions.
    #[arg(long, default_value_t = 12)]
    raw_partitions: u32,
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    window: Duration,
    #[arg(long, default_value = "64MiB", value_parser = parse_size)]
    buffer: u64,
    #[arg(long)]
    compress: bool,
    #[arg(long, value_delimiter = ',')]
    topics: Vec<String>,
    #[arg(long)]
    name: Vec<String>,
    #[arg(long)]
    kafka: Option<String>,
    #[arg(long)]
    kafka_password: Option<String>,
    #[arg(long)]
    kafka_password_file: Option<String>,
}

#[derive(Debug, Parser)]
struct Needy {
    #[arg(long)]
    cluster: String,
}

#[derive(Debug, Parser)]
#[command(name = "tool")]
struct Tool {
    #[command(subcommand)]
    command: ToolCommand,
}

#[derive(Debug, Subcommand)]
enum ToolCommand {
    Up {
        #[arg(long, default_value = "data")]
        data: String,
        #[arg(long, default_value_t = 5)]
        limit: u32,
    },
    Flows {
        namespace: Option<String>,
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
}

#[derive(Default)]
struct Fake {
    environment: HashMap<&'static str, &'static str>,
    files: HashMap<&'static str, &'static str>,
}

impl Sources for Fake {
    fn environment(&self, name: &str) -> Option<OsString> {
        self.environment.get(name).map(OsString::from)
    }

    fn read(&self, path: &Path) -> std::io::Result<String> {
        self.files
            .get(path.to_str().unwrap())
            .map(ToString::to_string)
            .ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}

fn fake(environment: &[(&'static str, &'static str)], file: &'static str) -> Fake {
    Fake { environment: environment.iter().copied().collect(), files: HashMap::from([("weir.toml", file)]) }
}

fn load_example<T: Parser>(line: &str, sources: &Fake) -> Result<Loaded<T>, SettingsError> {
    load_from(line.split_whitespace().map(OsString::from), sources)
}

fn message<T: Parser + std::fmt::Debug>(line: &str, sources: &Fake) -> String {
    load_example::<T>(line, sources).unwrap_err().to_string()
}

#[test]
fn flag_goes_before_environment_before_file_before_default() {
    let file = "raw-partitions = 3\n";
    let environment = [("WEIR_RAW_PARTITIONS", "2")];
    let cases: [(&str, &[_], &'static str, u32); 4] = [
        ("example --config weir.toml --raw-partitions 1", &environment, file, 1),
        ("example --config weir.toml", &environment, file, 2),
        ("example --config weir.toml", &[], file, 3),
        ("example", &[], "", 12),
    ];
    for (line, environment, file, expected) in cases {
        let loaded = load_example::<Example>(line, &fake(environment, file)).unwrap();
        assert_eq!(loaded.settings.raw_partitions, expected, "{line}");
    }
}

#[test]
fn every_kind_of_value_can_stand_in_the_file() {
    let file = "window = \"1m 30s\"\nbuffer = 1024\ncompress = true\ntopics = [\"a\", \"b\"]\nname = [\"x,y\", \"z\"]\nkafka = \"k:9092\"\n";
    let settings = load_example::<Example>("example --config weir.toml", &fake(&[], file)).unwrap().settings;
    assert_eq!(settings.window, Duration::from_secs(90));
    assert_eq!(settings.buffer, 1024);
    assert!(settings.compress);
    assert_eq!(settings.topics, ["a", "b"]);
    assert_eq!(settings.name, ["x,y", "z"]);
    assert_eq!(settings.kafka.as_deref(), Some("k:9092"));
}

#[test]
fn environment_sets_switches_and_lists() {
    let sources = fake(&[("WEIR_COMPRESS", "yes"), ("WEIR_TOPICS", "a,b"), ("WEIR_NAME", "x, y")], "");
    let settings = load_example::<Example>("example", &sources).unwrap().settings;
    assert!(settings.compress);
    assert_eq!(settings.topics, ["a", "b"]);
    assert_eq!(settings.name, ["x", "y"]);
    let sources = fake(&[("WEIR_COMPRESS", "false")], "compress = true");
    let off = load_example::<Example>("example --config weir.toml", &sources).unwrap();
    assert!(!off.settings.compress, "the environment can switch off what the file switches on");
}

#[test]
fn empty_variable_counts_as_unset() {
    let sources = fake(&[("WEIR_RAW_PARTITIONS", "")], "");
    let loaded = load_example::<Example>("example", &sources).unwrap();
    assert_eq!(loaded.settings.raw_partitions, 12);
}

#[test]
fn file_is_named_by_its_own_variable() {
    let sources = fake(&[("WEIR_CONFIG", "weir.toml")], "raw-partitions = 7");
    let loaded = load_example::<Example>("example", &sources).unwrap();
    assert_eq!(loaded.settings.raw_partitions, 7);
    assert_eq!(loaded.file.as_deref(), Some(Path::new("weir.toml")));
}

#[test]
fn required_flag_may_come_from_anywhere() {
    let file = fake(&[], "cluster = \"c1\"");
    let loaded = load_example::<Needy>("needy --config weir.toml", &file).unwrap();
    assert_eq!(loaded.settings.cluster, "c1");
    let text = message::<Needy>("needy", &fake(&[], ""));
    assert!(text.contains("required"), "{text}");
}

#[test]
fn unknown_key_is_refused_with_place_and_nearest_key() {
    let sources = fake(&[], "# head\nraw-partitions = 1\nraw-partition = 2\n");
    let error = load_example::<Example>("example --config weir.toml", &sources).unwrap_err();
    assert_eq!(error.to_string(), "weir.toml:3: unknown key `raw-partition`");
    assert_eq!(error.hint().unwrap(), "did you mean `raw-partitions`?");
    let sources = fake(&[], "zzzzzzzzzzz = 2\n");
    let error = load_example::<Example>("example --config weir.toml", &sources).unwrap_err();
    assert!(error.hint().unwrap().contains("--print-config"));
    let snake = fake(&[], "raw_partitions = 2\n");
    let error = load_example::<Example>("example --config weir.toml", &snake).unwrap_err();
    assert_eq!(error.hint().unwrap(), "did you mean `raw-partitions`?");
}

#[test]
fn bad_values_name_where_they_stand() {
    let sources = fake(&[], "\nraw-partitions = \"many\"\n");
    let text = message::<Example>("example --config weir.toml", &sources);
    assert!(text.starts_with("weir.toml:2: invalid value 'many' for '--raw-partitions"), "{text}");
    let sources = fake(&[("WEIR_WINDOW", "soon")], "");
    let text = message::<Example>("example", &sources);
    assert!(text.starts_with("environment variable WEIR_WINDOW: invalid value 'soon'"), "{text}");
    let sources = fake(&[], "compress = \"maybe\"\n");
    let text = message::<Example>("example --config weir.toml", &sources);
    assert!(text.starts_with("weir.toml:1: invalid value 'maybe' for '--compress'"), "{text}");
}

#[test]
fn broken_file_names_its_line() {
    let text = message::<Example>("example --config weir.toml", &fake(&[], "a = 1\nb = = 2\n"));
    assert!(text.starts_with("weir.toml:2: "), "{text}");
    let text = message::<Example>("example --config weir.toml", &fake(&[], "kafka = { a = 1 }\n"));
    assert_eq!(text, "weir.toml:1: key `kafka` cannot be a table");
    let error = load_example::<Example>("example --config none.toml", &fake(&[], "")).unwrap_err();
    assert!(error.to_string().starts_with("settings file none.toml: "));
    assert!(error.hint().is_some());
}

#[test]
fn check_and_print_are_modes() {
    let mode = |line| load_example::<Example>(line, &fake(&[], "")).unwrap().mode;
    assert_eq!(mode("example"), Mode::Run);
    assert_eq!(mode("example --check"), Mode::Check);
    assert_eq!(mode("example --print-config"), Mode::Print);
}

#[test]
fn effective_text_names_origins_and_hides_secrets() {
    let sources = fake(
        &[("WEIR_KAFKA_PASSWORD", "hush"), ("WEIR_KAFKA", "sasl://me:hush@k:9092/x")],
        "raw-partitions = 3\ntopics = [\"a\", \"b\"]\nkafka-password-file = \"/run/p\"",
    );
    let loaded = load_example::<Example>("example --config weir.toml --window 9s", &sources).unwrap();
    let text = loaded.effective_toml();
    assert!(!text.contains("hush"), "{text}");
    for line in [
        "raw-partitions = 3  # file",
        "window = \"9s\"  # flag",
        "buffer = \"64MiB\"  # default",
        "compress = false  # default",
        "topics = [\"a\", \"b\"]  # file",
        "kafka = \"sasl://me:<redacted>@k:9092/x\"  # environment",
        "kafka-password = \"<redacted>\"  # environment",
        "kafka-password-file = \"/run/p\"  # file",
        "# name =  # not set",
    ] {
        assert!(text.lines().any(|have| have == line), "{line} not in\n{text}");
    }
    assert_eq!(loaded.settings.kafka_password.as_deref(), Some("hush"));
}

#[test]
fn effective_text_reads_back_as_the_same_settings() {
    let first = load_example::<Example>("example --window 7s --topics a,b --compress", &fake(&[], "")).unwrap();
    let text: &'static str = first.effective_toml().leak();
    let second = load_example::<Example>("example --config weir.toml", &fake(&[], text)).unwrap();
    assert_eq!(format!("{:?}", first.settings), format!("{:?}", second.settings));
}

#[test]
fn subcommand_takes_its_own_flags() {
    let sources = fake(&[("WEIR_LIMIT", "9")], "data = \"/d\"\n");
    let loaded = load_example::<Tool>("tool up --config weir.toml", &sources).unwrap();
    let ToolCommand::Up { data, limit } = loaded.settings.command else { panic!("up expected") };
    assert_eq!((data.as_str(), limit), ("/d", 9));
    let loaded = load_example::<Tool>("tool --config weir.toml flows shop --limit 1", &sources);
    let ToolCommand::Flows { namespace, limit } = loaded.unwrap().settings.command else { panic!("flows expected") };
    assert_eq!((namespace.as_deref(), limit), (Some("shop"), 1));
}

#[test]
fn table_of_a_subcommand_is_its_own() {
    let file = "limit = 1\n[flows]\nlimit = 2\n";
    let limit = |line| match load_example::<Tool>(line, &fake(&[], file)).unwrap().settings.command {
        ToolCommand::Up { limit, .. } | ToolCommand::Flows { limit, .. } => limit,
    };
    assert_eq!(limit("tool up --config weir.toml"), 1);
    assert_eq!(limit("tool flows --config weir.toml"), 2);
    let wrong = fake(&[], "[flows]\ndata = 2\n");
    let text = message::<Tool>("tool up --config weir.toml", &wrong);
    assert_eq!(text, "weir.toml:2: unknown key `data`");
}

#[test]
fn help_names_the_variables() {
    let error = load_example::<Example>("example --help", &fake(&[], "")).unwrap_err();
    assert!(error.is_help());
    let SettingsError::CommandLine(help) = error else { panic!("help expected") };
    let text = help.render().to_string();
    assert!(text.contains("WEIR_RAW_PARTITIONS"), "{text}");
    assert!(text.contains("--print-config"), "{text}");
    let version = load_example::<Example>("example --version", &fake(&[], "")).unwrap_err();
    assert!(version.is_help());
}

#[test]
fn sizes_and_durations_say_what_they_expect() {
    assert_eq!(parse_size("1KiB").unwrap(), 1024);
    assert_eq!(parse_size("2048").unwrap(), 2048);
    assert!(parse_size("big").unwrap_err().contains("64MiB"));
    assert_eq!(parse_duration("250ms").unwrap(), Duration::from_millis(250));
    assert!(parse_duration("5").unwrap_err().contains("unit"));
}
