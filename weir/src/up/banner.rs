//! What `weir up` tells the person who started it.

use super::UpSettings;
use super::capture::Capture;
use super::components::Components;
use super::engines::Engines;
use std::fmt::Write as _;
use std::io::Write as _;
use weir_service::Context;

/// Prints where everything listens, what is captured, what may not be and why, and how to look.
pub(crate) fn print(context: &Context<UpSettings>, capture: &Capture, engines: &Engines, components: &Components) {
    let text = text(&context.settings, capture, engines, components);
    // A closed standard output is no reason to stop.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn text(settings: &UpSettings, capture: &Capture, engines: &Engines, components: &Components) -> String {
    let mut text = String::from("\nWeir is running. Ctrl-C stops it; what it knows is kept in ");
    let embedded = |is: bool| if is { "embedded" } else { "yours" };
    let _ = writeln!(text, "{}.\n", settings.data.display());
    let _ = writeln!(text, "  console        http://{}", settings.console.console_listen);
    let _ = writeln!(text, "  Elasticsearch  {}  ({})", engines.elasticsearch, embedded(engines.search_is_embedded()));
    let _ = writeln!(text, "  Kafka          {}  ({})", engines.kafka, embedded(engines.broker_is_embedded()));
    text.push('\n');
    for line in captured(capture) {
        let _ = writeln!(text, "  {line}");
    }
    let _ = writeln!(text, "  {}", names(settings, capture));
    let records = components.records();
    let _ = writeln!(
        text,
        "  Records cover {} s each and appear about {} s after their window ends.\n",
        records.window / 1_000,
        records.grace / 1_000 + 1
    );
    text.push_str("Look:\n");
    let more = if engines.search_is_embedded() && engines.elasticsearch == "http://127.0.0.1:9200" {
        String::new()
    } else {
        format!(" --elasticsearch {}", engines.elasticsearch)
    };
    let _ = writeln!(text, "  weir flows{more}                  the latest named flows");
    let _ = writeln!(text, "  weir flows --action deny{more}    what was dropped\n");
    text
}

fn captured(capture: &Capture) -> Vec<String> {
    match capture {
        Capture::Host(report) => report.lines(),
        Capture::Files { files, cluster } => {
            let names: Vec<_> = files.iter().map(|f| f.display().to_string()).collect();
            vec![format!("Capture: {} as cluster {cluster}.", names.join(", "))]
        }
        Capture::Demo { seed } => {
            vec![format!(
                "Demo: a simulated cluster (seed {seed}); nothing of this host is captured. Every record says demo."
            )]
        }
    }
}

fn names(settings: &UpSettings, capture: &Capture) -> String {
    match (&settings.kubeconfig, &settings.manifests, capture) {
        (_, _, Capture::Demo { .. }) => "Names: of the simulated cluster.".to_owned(),
        (Some(file), ..) => format!("Names: from the Kubernetes API of {}.", file.display()),
        (_, Some(folder), _) => format!("Names: from the manifests in {}.", folder.display()),
        _ if settings.in_cluster => "Names: from this cluster's Kubernetes API.".to_owned(),
        _ => "Names: hosts and processes only, no cluster is known (--kubeconfig FILE or --manifests DIR would name pods).".to_owned(),
    }
}
